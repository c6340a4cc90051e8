package k8sclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/pkg/workflow"
)

// longestLine bounds what is kept back of a log that has no line breaks, in bytes.
const longestLine = 64 << 10

// ErrUnreadable is a Secret of a pipeline's whose values cannot be told apart; test with errors.Is.
var ErrUnreadable = errors.New("its secret values cannot be read")

// SecretValues are what a deployed pipeline's runs are given in secret: what must not be shown of their logs. With
// ErrUnreadable they are all the same what can be known: of a Secret that cannot be read, every text in it.
func (c *Client) SecretValues(ctx context.Context, fqn string) ([]string, error) {
	configMap, names, err := c.configMap(ctx, fqn)
	if err != nil {
		return nil, err
	}
	pipeline, err := pipelineOf(configMap)
	if err != nil {
		pipeline, err = &omapi.IngestionPipeline{FullyQualifiedName: fqn}, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	values, valuesErr := c.secretValues(ctx, pipeline, names)
	return values, errors.Join(err, valuesErr)
}

// secretValues are what a pipeline's runs are given in secret, and were: an old run's log shows an old token. So the
// Secrets of earlier revisions are read too, and those of an application's runs. What the workflow reads from OpenMetadata by itself,
// the passwords of its service, is asked for at the same time.
func (c *Client) secretValues(ctx context.Context, pipeline *omapi.IngestionPipeline, names identity.ObjectNames) ([]string, error) {
	var service []string
	var asked sync.WaitGroup
	asked.Go(func() { service = c.serviceSecrets(ctx, pipeline) })
	values, err := c.keptSecrets(ctx, pipeline, names)
	if err != nil && !errors.Is(err, ErrUnreadable) {
		return nil, err
	}
	others := c.othersSecrets(ctx)
	asked.Wait()
	return slices.Concat(values, others, service), err
}

// othersSecrets are the values of variables that extraEnvVars takes from other Secrets, as far as they may be read.
func (c *Client) othersSecrets(ctx context.Context) []string {
	var values []string
	for _, variable := range c.config.ExtraEnvVars {
		if variable.ValueFrom == nil || variable.ValueFrom.SecretKeyRef == nil {
			continue
		}
		ref := variable.ValueFrom.SecretKeyRef
		if secret, err := c.kube.CoreV1().Secrets(c.config.Namespace).Get(ctx, ref.Name, metav1.GetOptions{}); err == nil {
			values = append(values, workflow.Overlay{"/": string(secret.Data[ref.Key])}.Values()...)
		}
	}
	return values
}

func (c *Client) keptSecrets(ctx context.Context, pipeline *omapi.IngestionPipeline, names identity.ObjectNames) ([]string, error) {
	fqn := pipeline.FQN()
	list, err := c.kube.CoreV1().Secrets(c.config.Namespace).List(ctx, metav1.ListOptions{LabelSelector: pipelineSelector(names)})
	if err != nil {
		return nil, c.failed("list the Secrets of pipeline "+fqn+", whose values are hidden in logs", err)
	}
	// What was deployed before a rule was known.
	_, overlay := c.config.secretRules().Split(pipeline.SourceConfig)
	values := overlay.Values()
	var errs []error
	for i := range list.Items {
		secret := &list.Items[i]
		if !owned(secret, fqn) {
			continue
		}
		what := "Secret " + secret.Name
		if secret.Type == revisionType {
			what = fmt.Sprintf("Secret %s, revision %d of pipeline %s,", secret.Name, revisionOf(secret), fqn)
			secret = secretOf(secret)
		}
		for _, key := range []string{secretKey, previousKey} {
			overlay, err := workflow.ParseOverlay(string(secret.Data[key]))
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w, so every text in it is hidden: %w", what, ErrUnreadable, err))
				values = append(values, workflow.Texts(string(secret.Data[key]))...)
				continue
			}
			values = append(values, overlay.Values()...)
		}
		for key, value := range secret.Data {
			if _, _, ok := parseVariableKey(key); ok {
				values = append(values, workflow.Overlay{"/": string(value)}.Values()...)
			}
		}
	}
	return values, errors.Join(errs...)
}

// hiddenValues are secretValues for a log; what cannot be read is told.
func (c *Client) hiddenValues(ctx context.Context, pipeline *omapi.IngestionPipeline, names identity.ObjectNames, options LogOptions) ([]string, error) {
	values, err := c.secretValues(ctx, pipeline, names)
	if !errors.Is(err, ErrUnreadable) {
		return values, err
	}
	if options.Warn != nil {
		options.Warn(err.Error())
	}
	return values, nil
}

// serviceSecrets holds what was read of the services' secrets, for a while: the pages of a log come one by one.
type serviceSecrets struct {
	mu    sync.Mutex
	known map[omapi.EntityReference]readSecrets
}

type readSecrets struct {
	values []string
	until  time.Time
}

const (
	// serviceTimeout bounds the question for a service's secrets, for which logs and reports wait.
	serviceTimeout = 2 * time.Second
	// serviceMemory is how long the answer serves, also that there was none.
	serviceMemory = time.Minute
)

// serviceSecrets are the passwords of the service that a pipeline reads from, as far as OpenMetadata tells them: to a bot. Without an
// answer there are none; it is no reason to keep a log or a report back.
func (c *Client) serviceSecrets(ctx context.Context, pipeline *omapi.IngestionPipeline) []string {
	if c.om == nil || pipeline.Service == (omapi.EntityReference{}) || pipeline.PipelineType == omapi.PipelineApplication || pipeline.PipelineType == omapi.PipelineTestSuite {
		return nil // An application has all in its own configuration, a test suite no service.
	}
	c.services.mu.Lock()
	read, ok := c.services.known[pipeline.Service]
	c.services.mu.Unlock()
	if ok && time.Now().Before(read.until) {
		return read.values
	}
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	connection, err := c.om.GetConnection(ctx, pipeline.Service)
	if err == nil {
		_, overlay := c.config.secretRules().Split(connection)
		read.values = overlay.Values()
	} // Else what was known before still hides something.
	read.values = slices.DeleteFunc(read.values, workflow.IsMask)
	read.until = time.Now().Add(serviceMemory)
	c.services.mu.Lock()
	defer c.services.mu.Unlock()
	if c.services.known == nil {
		c.services.known = map[omapi.EntityReference]readSecrets{}
	}
	c.services.known[pipeline.Service] = read
	return read.values
}

// redactor hides secret values in what is written through it, line by line.
type redactor struct {
	out     io.Writer
	replace *diagnostics.Redactor
	// overlap is what is kept back of a line that is cut, so that a value across the cut is found.
	overlap int
	values  []string
	kept    []byte
}

func newRedactor(out io.Writer, values []string) *redactor {
	r := &redactor{out: out, replace: diagnostics.NewRedactor(values), values: diagnostics.SecretForms(values)}
	for _, value := range r.values {
		r.overlap = max(r.overlap, len(value))
	}
	return r
}

func (r *redactor) Write(data []byte) (int, error) {
	r.kept = append(r.kept, data...)
	end := bytes.LastIndexByte(r.kept, '\n') + 1
	if end == 0 && len(r.kept) > longestLine+2*r.overlap {
		end = r.cut(len(r.kept) - r.overlap)
	}
	if err := r.flush(end); err != nil {
		return 0, err
	}
	return len(data), nil
}

// cut moves the end of a part of a long line before a value that goes over it.
func (r *redactor) cut(end int) int {
	for _, value := range r.values {
		from := max(0, end-len(value)+1)
		if at := bytes.Index(r.kept[from:min(len(r.kept), end+len(value)-1)], []byte(value)); at >= 0 {
			end = min(end, from+at)
		}
	}
	return end
}

// flush writes the first bytes of what is kept.
func (r *redactor) flush(end int) error {
	if end == 0 {
		return nil
	}
	head := r.replace.Replace(string(r.kept[:end]))
	r.kept = append(r.kept[:0], r.kept[end:]...)
	_, err := io.WriteString(r.out, head)
	return err
}

// Close writes the last line.
func (r *redactor) Close() error { return r.flush(len(r.kept)) }
