package diagnostics

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// StepName is the name of the step that diagnostics are in, as OpenMetadata's exit_handler.py has it.
const StepName = "Pod Diagnostics"

// AttemptStep is Step for one attempt of a run that goes on, without the others: each has a step of its own.
func (r *Run) AttemptStep(attempt int, reporter string) omapi.StepSummary {
	one, pod := *r, r.Pods[attempt]
	one.Pods, one.Gone = []Pod{pod}, nil
	one.Events = slices.DeleteFunc(slices.Clone(r.Events), func(e Event) bool {
		return strings.HasPrefix(e.Object, "Pod/") && e.Object != "Pod/"+pod.Name
	})
	step := one.Step(r.JudgeAttempt(attempt), reporter)
	step.Name += ": " + pod.Name
	return step
}

// Step renders the run as a step of its record. Who reports is part of it, so that a reader knows how the record came about.
func (r *Run) Step(verdict Verdict, reporter string) omapi.StepSummary {
	errors := 1
	if verdict.Category == CategoryKilled || verdict.Category == CategorySucceeded {
		errors = 0
	}
	text := verdict.Summary
	if verdict.Advice != "" {
		text += "; " + verdict.Advice
	}
	return omapi.StepSummary{
		Name:   StepName,
		Errors: errors,
		Failures: []omapi.StackTraceError{{
			Name:       string(verdict.Category),
			Error:      text,
			StackTrace: "Reported by: " + reporter + "\n" + r.Text(),
		}},
	}
}

// Text renders the run for people.
func (r *Run) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Job: %s\nNamespace: %s\n", r.JobName, r.Namespace)
	if r.Job != nil {
		s := r.Job.Status
		fmt.Fprintf(&b, "Attempts: %d active, %d succeeded, %d failed\n", s.Active, s.Succeeded, s.Failed)
		for _, condition := range s.Conditions {
			fmt.Fprintf(&b, "Condition: %s=%s %s %s\n", condition.Type, condition.Status, condition.Reason, condition.Message)
		}
	}
	for i := range r.Pods {
		r.Pods[i].text(&b)
	}
	if len(r.Gone) > 0 {
		fmt.Fprintf(&b, "\nPods that are gone: %s\n", strings.Join(r.Gone, ", "))
	}
	if len(r.Events) > 0 {
		b.WriteString("\nEvents:\n")
	}
	for _, e := range r.Events {
		fmt.Fprintf(&b, "  %s  %-7s  %s  %s: %s\n", stamp(e.Time), e.Type, e.Reason, e.Object, e.Message)
	}
	if len(r.Problems) > 0 {
		b.WriteString("\nWhat could not be read:\n")
	}
	for _, problem := range r.Problems {
		fmt.Fprintf(&b, "  %s\n", problem)
	}
	return b.String()
}

func (p *Pod) text(b *strings.Builder) {
	fmt.Fprintf(b, "\nPod: %s\nNode: %s\nPhase: %s\n", p.Name, p.Node, p.Phase)
	for _, field := range []struct{ name, value string }{
		{"Reason", p.Reason}, {"Message", p.Message}, {"Disruption", p.Disruption}, {"Not scheduled", p.Unscheduled},
	} {
		if field.value != "" {
			fmt.Fprintf(b, "%s: %s\n", field.name, field.value)
		}
	}
	if p.Deleted != nil {
		fmt.Fprintf(b, "Deleted: %s\n", stamp(*p.Deleted))
	}
	for i := range p.Containers {
		c := &p.Containers[i]
		if c.Last != nil {
			c.Last.text(b, " before its restart")
		}
		c.text(b, "")
	}
	for i := range p.Containers {
		c := &p.Containers[i]
		if c.Last != nil {
			c.Last.logText(b, " before its restart")
		}
		c.logText(b, "")
	}
}

func (c *Container) text(b *strings.Builder, when string) {
	name := c.Name
	if c.Kind != KindMain && c.Kind != "" {
		name += " (" + string(c.Kind) + ")"
	}
	fmt.Fprintf(b, "Container: %s%s: %s", name, when, cmp.Or(c.State, "no state yet"))
	if c.State == stateTerminated {
		fmt.Fprintf(b, ", exit code %d%s, %s to %s", c.ExitCode, signalOf(c.ExitCode), stamp(c.Started), stamp(c.Finished))
	}
	if c.Restarts > 0 {
		fmt.Fprintf(b, ", %d restarts", c.Restarts)
	}
	if c.Reason != "" {
		fmt.Fprintf(b, ", %s", c.Reason)
	}
	if c.Message != "" && c.Message != c.Log {
		fmt.Fprintf(b, ": %s", c.Message)
	}
	b.WriteByte('\n')
}

func (c *Container) logText(b *strings.Builder, when string) {
	if c.Log != "" {
		fmt.Fprintf(b, "\nLog of container %s%s (the last %d lines):\n%s\n", c.Name, when, TailLines, strings.TrimRight(c.Log, "\n"))
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
