package k8sclient_test //nolint:testableexamples // It needs a cluster.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// A server that runs in the cluster deploys a pipeline and runs it.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := deployAndRun(ctx, "mysql_prod.metadata"); err != nil {
		fmt.Println(err)
	}
}

func deployAndRun(ctx context.Context, fqn string) error {
	loaded, err := k8sclient.LoadConfig(k8sclient.Sources{Path: "openmetadata.yaml"})
	if err != nil {
		return err // All that is wrong with the parameters, at once.
	}
	cluster, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	kube, err := kubernetes.NewForConfig(cluster)
	if err != nil {
		return err
	}
	om, err := omapi.New(omapi.Config{URL: loaded.MetadataAPIEndpoint, Token: "the bot's token", UserAgent: "my-server"})
	if err != nil {
		return err
	}
	defer om.Close()
	var service k8sclient.PipelineService
	if service, err = k8sclient.New(kube, om, loaded.Config); err != nil {
		return err
	}
	pipeline, err := om.GetPipeline(ctx, fqn)
	if err != nil {
		return err
	}
	_, err = service.Deploy(ctx, pipeline, k8sclient.DeployOptions{})
	if errors.Is(err, k8sclient.ErrNotOurs) {
		return fmt.Errorf("rename the pipeline: %w", err)
	}
	if err != nil {
		return err
	}
	run, err := service.Run(ctx, fqn, k8sclient.RunOptions{})
	if err != nil {
		return err
	}
	fmt.Println("started run", run.RunID)
	return nil
}
