package main

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/pipelinectl/pipelinectl/pkg/diagnostics"
	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

const (
	// meshTimeout bounds how long the proxy of a service mesh is asked to end.
	meshTimeout = time.Second
	// leaveTimeout bounds what that may add to the life of a container that has such a proxy beside it.
	leaveTimeout = 2 * time.Second
)

// meshEndpoint is where the proxy of a service mesh takes the request to end.
type meshEndpoint struct{ address, path string }

// meshEndpoints are those of Istio's agent and of Linkerd's proxy, in the pod's own network.
func meshEndpoints() []meshEndpoint {
	return []meshEndpoint{{"127.0.0.1:15020", "/quitquitquit"}, {"127.0.0.1:4191", "/shutdown"}}
}

func (e meshEndpoint) listens(ctx context.Context) bool {
	connection, err := (&net.Dialer{Timeout: meshTimeout}).DialContext(ctx, "tcp", e.address)
	if err == nil {
		_ = connection.Close()
	}
	return err == nil
}

// endMesh asks the proxies that a service mesh may have added to the pod to end, as they keep it running. Without any it takes
// no time: nothing listens there. It says whether one has been asked.
func endMesh(ctx context.Context, endpoints []meshEndpoint) bool {
	asked := false
	for _, endpoint := range endpoints {
		asked = endpoint.listens(ctx) && endpoint.end(ctx) || asked
	}
	return asked
}

func (e meshEndpoint) end(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, meshTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+e.address+e.path, http.NoBody)
	if err != nil {
		return false
	}
	// Neither a proxy of the environment nor a redirect has a part in it.
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode < http.StatusBadRequest
}

// leaveMesh is for the end of the ingestion process. A sidecar of the pod needs the network for its report, which takes the
// proxy: it asks that to end afterwards.
func leaveMesh(ctx context.Context, environ []string, endpoints []meshEndpoint) {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	for _, endpoint := range endpoints {
		if endpoint.listens(ctx) && !hasSidecar(ctx, environ) {
			endpoint.end(ctx)
		}
	}
}

func hasSidecar(ctx context.Context, environ []string) bool {
	ctx, cancel := context.WithTimeout(ctx, meshTimeout)
	defer cancel()
	env := readEnvironment(environ, "init")
	reader, err := newReader(env.namespace)
	if err != nil || env.podName == "" {
		return false
	}
	pod, err := reader.Pod(ctx, env.podName)
	return err == nil && diagnostics.IsSidecar(pod, identity.SidecarName)
}
