package diagnostics

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// longestWords is how much of a log a cause quotes, in characters.
	longestWords = 300
	// lastLines is how near to its end a log tells why the process ended.
	lastLines = 40

	tracebackStart = "Traceback (most recent call last):"
)

var (
	// exceptionLine is how Python ends a traceback: the type, and mostly a message.
	exceptionLine = regexp.MustCompile(`^[A-Za-z_][\w.]*(: .*)?$`)
	// logLine is how the ingestion package begins what it logs.
	logLine = regexp.MustCompile(`^\[\d{4}-\d\d-\d\d[ T]`)
	// failureRow is a row of the table of failures that the ingestion package prints: from, entity, message, stack trace.
	failureRow = regexp.MustCompile(`^\| ([^|]*\S) +\| ([^|]*) \| ([^|]*\S) +\| [^|]* ?\|`)
)

// lastWords is what the log of a container says of why its process failed: the exception that ended it, with the newest
// failure that the workflow has listed; else its last line, as of one that was killed in the middle of its work.
func lastWords(c *Container) string {
	lines := strings.Split(strings.TrimRight(c.Log, "\n"), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool {
		return strings.TrimSpace(line) == "" || strings.Contains(line, `"logger":"exithandler"`)
	})
	text := ""
	if signalOf(c.ExitCode) == "" {
		text = uncaught(lines)
		if row := listedFailure(lines); row != "" && (text == "" || strings.Contains(text, "WorkflowExecutionError")) {
			// The exception says only how many there were.
			text = strings.TrimSuffix(row+"; "+text, "; ")
		}
	}
	if text == "" && len(lines) > 0 {
		text = strings.TrimSpace(lines[len(lines)-1])
	}
	if text == "" {
		return ""
	}
	if utf8.RuneCountInString(text) > longestWords {
		text = string([]rune(text)[:longestWords]) + "…"
	}
	return ", after it wrote: " + text
}

// uncaught is the exception of the last traceback that was not logged by the program, empty where there is none near the end.
// Its message may have several lines.
func uncaught(lines []string) string {
	at := -1
	for i, line := range lines {
		if line == tracebackStart {
			at = i
		}
	}
	if at < 0 {
		return ""
	}
	for i := at + 1; i < len(lines); i++ {
		if line := lines[i]; strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			continue // Where it was raised.
		} else if len(lines)-i > lastLines || !exceptionLine.MatchString(strings.TrimRight(line, "\r ")) {
			return ""
		}
		message := lines[i : i+1]
		for _, more := range lines[i+1:] {
			if logLine.MatchString(more) || strings.HasPrefix(more, "Exception ") {
				break
			}
			message = append(slices.Clone(message), more)
		}
		for k := range message {
			message[k] = strings.TrimSpace(message[k])
		}
		return strings.Join(message, " ")
	}
	return ""
}

// listedFailure is the last of the table of failures that the ingestion package prints at its end, empty where there is none.
func listedFailure(lines []string) string {
	for _, line := range slices.Backward(lines) {
		cells := failureRow.FindStringSubmatch(line)
		if cells == nil || cells[1] == "From" {
			continue
		}
		return strings.TrimSpace(cells[1]) + ", " + strings.TrimSpace(cells[2]) + ": " + strings.TrimSpace(cells[3])
	}
	return ""
}
