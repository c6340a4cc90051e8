package k8sclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pipelinectl/pipelinectl/pkg/k8sclient"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// A server deploys a pipeline of OpenMetadata's and runs it. In a cluster, rest.InClusterConfig gives the way to it.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cluster, openMetadata := k8sclient.StartAPIServer(), httptest.NewServer(openMetadata())
	defer cluster.Close()
	defer openMetadata.Close()
	if err := deployAndRun(ctx, &rest.Config{Host: cluster.URL}, openMetadata.URL+"/api"); err != nil {
		fmt.Println(err)
	}
	// Output:
	// created ConfigMap om-config-metadata
	// created Secret om-secret-metadata
	// created CronJob om-cronjob-metadata
	// started a run of mysql_prod.metadata
}

func deployAndRun(ctx context.Context, cluster *rest.Config, openMetadata string) error {
	loaded, err := k8sclient.LoadConfig(k8sclient.Sources{Flags: []string{"namespace=pipelines", "metadataApiEndpoint=" + openMetadata}})
	if err != nil {
		return err // All that is wrong with the parameters, at once.
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
	pipeline, err := om.GetPipeline(ctx, "mysql_prod.metadata")
	if err != nil {
		return err
	}
	deployed, err := service.Deploy(ctx, pipeline, k8sclient.DeployOptions{})
	if errors.Is(err, k8sclient.ErrNotOurs) {
		return fmt.Errorf("rename the pipeline: %w", err)
	}
	if err != nil {
		return err
	}
	for _, object := range deployed.Objects {
		fmt.Println(object.Action, object.Kind, object.Name)
	}
	run, err := service.Run(ctx, deployed.FQN, k8sclient.RunOptions{})
	if err != nil {
		return err
	}
	fmt.Println("started a run of", run.FQN)
	return nil
}

// openMetadata knows one pipeline and its service, and takes every record.
func openMetadata() http.Handler {
	answers := http.NewServeMux()
	answer := func(pattern, text string) {
		answers.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, text)
		})
	}
	answer("GET /api/v1/services/ingestionPipelines/name/mysql_prod.metadata", `{
		"name": "metadata", "fullyQualifiedName": "mysql_prod.metadata", "pipelineType": "metadata",
		"service": {"type": "databaseService", "name": "mysql_prod"}, "sourceConfig": {"config": {"type": "DatabaseMetadata"}},
		"openMetadataServerConnection": {"hostPort": "http://openmetadata:8585/api", "securityConfig": {"jwtToken": "the bot's token"}},
		"airflowConfig": {"scheduleInterval": "@daily"}}`)
	answer("GET /api/v1/services/databaseServices/name/mysql_prod", `{"name": "mysql_prod", "serviceType": "Mysql"}`)
	answer("PUT /api/v1/services/ingestionPipelines/mysql_prod.metadata/pipelineStatus", `{}`)
	return answers
}
