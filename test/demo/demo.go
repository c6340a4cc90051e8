package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipelinectl/pipelinectl/pkg/omapi"
	"github.com/pipelinectl/pipelinectl/test/harness"
	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

const pollInterval = 100 * time.Millisecond

type demo struct {
	cluster   *harness.Cluster
	standIn   *harness.StandIn
	command   *harness.Command
	namespace string
	image     string
}

func (d *demo) prepare(ctx context.Context, dir string) error {
	fmt.Printf("Preparing namespace %s: images, service account, and an OpenMetadata stand-in.\n", d.namespace)
	if err := d.cluster.Namespace(ctx, d.namespace, func(question string) bool { return confirm(ctx, question) }); err != nil {
		return err
	}
	if err := d.cluster.Load(ctx, "openmetadata-stand-in", imageName(d.image)); err != nil {
		return err
	}
	standIn, err := d.cluster.StartStandIn(ctx, d.namespace, 0)
	if err != nil {
		return err
	}
	d.standIn = standIn
	d.command, err = d.cluster.NewCommand(standIn, dir, d.namespace, harness.Parameters{IngestionImage: d.image, BackoffLimit: 0})
	return err
}

// imageName turns pipelinectl.local/ingestion-light:dev into ingestion-light.
func imageName(image string) string {
	name, _, _ := strings.Cut(path.Base(image), ":")
	return name
}

// confirm asks on the terminal. What ends the demo is no; the read is left behind then, and ends with the process.
func confirm(ctx context.Context, question string) bool {
	fmt.Printf("%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(os.Stdin).ReadString('\n') // No line is no.
		answer <- line
	}()
	select {
	case line := <-answer:
		return strings.EqualFold(strings.TrimSpace(line), "y")
	case <-ctx.Done():
		fmt.Println()
		return false
	}
}

func (d *demo) succeeds(ctx context.Context) error {
	return d.show(ctx, "1. A run that succeeds", "orders", nil)
}

func (d *demo) fails(ctx context.Context) error {
	return d.show(ctx, "2. A run that fails", "billing", nil)
}

// killed kills the run as soon as it is at work.
func (d *demo) killed(ctx context.Context) error {
	return d.show(ctx, "3. A run that is killed", "warehouse", func(fqn string) error {
		if _, err := d.waitFor(ctx, fqn, atWork); err != nil {
			return err
		}
		return d.execute(ctx, "kill", fqn)
	})
}

// atWork says that the workflow itself has told of the run: until then only what starts it has.
func atWork(run *admin.Run) bool { return slices.ContainsFunc(run.Writes, harness.OfWorkflow) }

func ended(run *admin.Run) bool { return omapi.PipelineState(run.State).Terminal() }

func (d *demo) show(ctx context.Context, title, service string, then func(fqn string) error) error {
	fmt.Printf("\n%s\n", title)
	file := filepath.Join("examples", service+".yaml")
	fqn, err := d.standIn.Register(ctx, filepath.Join(d.cluster.Root, "examples", service+".service.yaml"), filepath.Join(d.cluster.Root, file))
	if err != nil {
		return err
	}
	if err := d.execute(ctx, "deploy", "-f", file); err != nil {
		return err
	}
	if err := d.execute(ctx, "run", fqn); err != nil {
		return err
	}
	if then != nil {
		if err := then(fqn); err != nil {
			return err
		}
	}
	run, err := d.waitFor(ctx, fqn, ended)
	if err != nil {
		return err
	}
	at, err := d.processEnded(ctx, run.RunID)
	if err != nil {
		return err
	}
	printRun(run, at)
	return nil
}

// execute shows a command as a user would type it, and its output.
func (d *demo) execute(ctx context.Context, args ...string) error {
	fmt.Printf("\n  $ pipelinectl %s\n", strings.Join(args, " "))
	out, err := d.command.Run(ctx, args...)
	for line := range strings.Lines(out) {
		fmt.Print("  " + line)
	}
	return err
}

// waitFor waits until a pipeline's newest run is as wanted. The stand-in is the demo's own: the run is the one it has started.
func (d *demo) waitFor(ctx context.Context, fqn string, reached func(*admin.Run) bool) (*admin.Run, error) {
	var run *admin.Run
	err := wait.PollUntilContextTimeout(ctx, pollInterval, 3*time.Minute, true, func(ctx context.Context) (bool, error) {
		pipelines, err := d.standIn.Admin.Pipelines(ctx)
		if err != nil {
			return false, err
		}
		for _, pipeline := range pipelines {
			if pipeline.FQN == fqn && len(pipeline.Runs) > 0 {
				run = &pipeline.Runs[0]
			}
		}
		return run != nil && reached(run), nil
	})
	if err != nil {
		state := "without a record"
		if run != nil {
			state = run.State
		}
		return nil, fmt.Errorf("the run of pipeline %s is still %s; see kubectl -n %s get pods,events: %w", fqn, state, d.namespace, err)
	}
	return run, nil
}

// processEnded is when the run's container ended; zero where Kubernetes does not know any more.
func (d *demo) processEnded(ctx context.Context, runID string) (time.Time, error) {
	var ended time.Time
	err := wait.PollUntilContextTimeout(ctx, pollInterval, time.Minute, true, func(ctx context.Context) (bool, error) {
		var (
			gone bool
			err  error
		)
		ended, gone, err = d.cluster.ContainerEnded(ctx, d.namespace, runID)
		return gone || !ended.IsZero(), err
	})
	if err != nil {
		return ended, fmt.Errorf("the pod of run %s does not end; see kubectl -n %s get pods: %w", runID, d.namespace, err)
	}
	return ended, nil
}

func printRun(run *admin.Run, ended time.Time) {
	begin := time.UnixMilli(run.Timestamp)
	fmt.Println("\n  OpenMetadata was told:")
	for _, write := range run.Writes {
		fmt.Printf("    %6.1f s  %-9s  by %s\n", write.Time.Sub(begin).Seconds(), write.State, write.UserAgent)
	}
	fmt.Printf("  Final state: %s", run.State)
	if !ended.IsZero() {
		fmt.Printf("   (the process had ended at %.0f s, to the second)", ended.Sub(begin).Seconds())
	}
	fmt.Println()
	if run.Cause != nil {
		fmt.Printf("  Cause: %s: %s\n", run.Cause.Name, run.Cause.Error)
	}
}

func (d *demo) farewell(ctx context.Context) error {
	fmt.Print("\nThe cluster is up, for you to play with:\n" +
		"  make page          OpenMetadata's page with these runs, and what to set for pipelinectl in another shell\n")
	if d.cluster.Local {
		fmt.Print("  bin/cluster kubectl -- -n " + d.namespace + " get all\n" +
			"  make cluster-down  stop it; nothing is left\n")
		return nil
	}
	own, err := d.cluster.Owns(ctx, d.namespace)
	if err != nil {
		return err
	}
	fmt.Print("To remove what the demo has made:\n")
	if own {
		fmt.Print("  kubectl delete namespace " + d.namespace + "\n")
		return nil
	}
	fmt.Print("  bin/pipelinectl delete --all    (while make page runs, with what it says to set)\n" +
		"  kubectl -n " + d.namespace + " delete pod openmetadata\n" +
		"  kubectl -n " + d.namespace + " delete -f deploy/ingestion.yaml\n")
	return nil
}
