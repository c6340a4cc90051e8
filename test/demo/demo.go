package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
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

func (d *demo) prepare(ctx context.Context) error {
	fmt.Printf("Preparing namespace %s: images, service account, and an OpenMetadata stand-in.\n", d.namespace)
	if err := d.cluster.Load(ctx, "openmetadata-stand-in", imageName(d.image)); err != nil {
		return err
	}
	if err := d.cluster.Namespace(ctx, d.namespace, confirm); err != nil {
		return err
	}
	standIn, err := d.cluster.StartStandIn(ctx, d.namespace, 0)
	if err != nil {
		return err
	}
	d.standIn = standIn
	d.command, err = d.cluster.NewCommand(standIn, d.namespace, harness.Parameters{IngestionImage: d.image, BackoffLimit: 0})
	return err
}

// imageName turns pipelinectl.local/ingestion-light:dev into ingestion-light.
func imageName(image string) string {
	name, _, _ := strings.Cut(path.Base(image), ":")
	return name
}

func confirm(question string) bool {
	fmt.Printf("%s [y/N] ", question)
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(answer), "y")
}

func (d *demo) succeeds(ctx context.Context) error {
	return d.show(ctx, "1. A run that succeeds", "orders", nil)
}

func (d *demo) fails(ctx context.Context) error {
	return d.show(ctx, "2. A run that fails", "billing", nil)
}

// killed kills the run as soon as it is at work.
func (d *demo) killed(ctx context.Context) error {
	return d.show(ctx, "3. A run that is killed", "warehouse", func(fqn, runID string) error {
		if _, err := d.waitFor(ctx, fqn, runID, func(state omapi.PipelineState) bool { return state == omapi.StateRunning }); err != nil {
			return err
		}
		return d.execute(ctx, nil, "kill", fqn)
	})
}

func (d *demo) show(ctx context.Context, title, service string, then func(fqn, runID string) error) error {
	fmt.Printf("\n%s\n", title)
	file := filepath.Join("examples", service+".yaml")
	if err := d.standIn.Register(ctx, filepath.Join(d.cluster.Root, "examples", service+".service.yaml"), filepath.Join(d.cluster.Root, file)); err != nil {
		return err
	}
	if err := d.execute(ctx, nil, "deploy", "-f", file); err != nil {
		return err
	}
	fqn := service + "." + service + "-metadata"
	var started k8sclient.RunResult
	if err := d.execute(ctx, &started, "run", fqn); err != nil {
		return err
	}
	fmt.Printf("  run %s started as Job %s\n", started.RunID, started.JobName)
	if then != nil {
		if err := then(fqn, started.RunID); err != nil {
			return err
		}
	}
	run, err := d.waitFor(ctx, fqn, started.RunID, omapi.PipelineState.Terminal)
	if err != nil {
		return err
	}
	ended, err := d.ended(ctx, run.RunID)
	if err != nil {
		return err
	}
	printRun(run, ended)
	return nil
}

// execute shows a command as a user would type it, and its output; with a result, it is read into that instead.
func (d *demo) execute(ctx context.Context, result any, args ...string) error {
	fmt.Printf("\n  $ pipelinectl %s\n", strings.Join(args, " "))
	if result != nil {
		return d.command.RunJSON(ctx, result, args...)
	}
	out, err := d.command.Run(ctx, args...)
	for line := range strings.Lines(out) {
		fmt.Print("  " + line)
	}
	return err
}

func (d *demo) waitFor(ctx context.Context, fqn, runID string, reached func(omapi.PipelineState) bool) (*admin.Run, error) {
	var run *admin.Run
	err := wait.PollUntilContextTimeout(ctx, pollInterval, 3*time.Minute, true, func(ctx context.Context) (bool, error) {
		var err error
		run, err = d.standIn.Admin.Run(ctx, fqn, runID)
		return err == nil && run != nil && reached(omapi.PipelineState(run.State)), err
	})
	if err != nil {
		state := "no record"
		if run != nil {
			state = run.State
		}
		return nil, fmt.Errorf("run %s of pipeline %s is still %s: %w; see kubectl -n %s get pods,events", runID, fqn, state, err, d.namespace)
	}
	return run, nil
}

// ended is when the run's container ended; zero where Kubernetes does not know any more.
func (d *demo) ended(ctx context.Context, runID string) (time.Time, error) {
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
		return ended, errors.Join(fmt.Errorf("wait for the end of run %s's pod", runID), err)
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

func (d *demo) farewell() {
	fmt.Print("\nThe cluster is up, for you to play with:\n" +
		"  make page          OpenMetadata's page with these runs, and what to set for pipelinectl in another shell\n")
	if d.cluster.Local {
		fmt.Print("  bin/cluster kubectl -- -n " + d.namespace + " get all\n" +
			"  make cluster-down  stop it; nothing is left\n")
	}
}
