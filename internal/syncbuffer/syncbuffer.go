// Package syncbuffer has a buffer that tests read while what they test still writes to it.
package syncbuffer

import (
	"bytes"
	"sync"
)

// Buffer is a bytes.Buffer for several goroutines. Its zero value is empty and ready.
type Buffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write appends data.
func (b *Buffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(data)
}

// String is all that was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
