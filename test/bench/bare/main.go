// Command bare makes the requests that exithandler's hook makes, with net/http and nothing else: what the work costs at
// least.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
)

const (
	tailLines = 500
	keep      = 256 << 10
)

type pods struct {
	Items []struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Status struct {
			ContainerStatuses []struct {
				Name  string         `json:"name"`
				State map[string]any `json:"state"`
			} `json:"containerStatuses"`
		} `json:"status"`
	} `json:"items"`
}

func main() {
	if err := trust(os.Getenv("KUBERNETES_CA")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := run(os.Getenv("KUBERNETES_URL"), os.Getenv("RECORD_URL"), os.Getenv("JOB")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// trust makes the default client one of the Kubernetes API, which has a certificate authority of its own.
func trust(file string) error {
	data, err := os.ReadFile(file) //nolint:gosec // Of the benchmark.
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(data)
	http.DefaultTransport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	return nil
}

func run(kubernetes, record, job string) error {
	var (
		wg             sync.WaitGroup
		status         map[string]any
		list           pods
		log, jobEvents []byte
	)
	core := kubernetes + "/api/v1/namespaces/pipelines"
	errs := make(chan error, 8)
	fetch := func(url string, into any) { errs <- getJSON(url, into) }
	wg.Go(func() { fetch(kubernetes+"/apis/batch/v1/namespaces/pipelines/jobs/"+job, &map[string]any{}) })
	wg.Go(func() { fetch(core+"/events?fieldSelector=involvedObject.name%3D"+job, &map[string]any{}) })
	wg.Go(func() { fetch(record+"/"+os.Getenv("RUN"), &status) })
	if err := getJSON(core+"/pods?labelSelector=job-name%3D"+job, &list); err != nil {
		return err
	}
	for _, pod := range list.Items {
		wg.Go(func() {
			fetch(core+"/events?fieldSelector=involvedObject.name%3D"+pod.Metadata.Name, &map[string]any{})
		})
		wg.Go(func() {
			var err error
			log, err = tail(fmt.Sprintf("%s/pods/%s/log?container=ingestion&tailLines=%d&limitBytes=33554432", core, pod.Metadata.Name, tailLines))
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	status["pipelineState"] = "failed"
	status["status"] = []any{map[string]any{"name": "Pod Diagnostics", "failures": []any{map[string]any{"name": "x", "error": "x", "stackTrace": string(log) + string(jobEvents)}}}}
	body, err := json.Marshal(status)
	if err != nil {
		return err
	}
	if err := put(record, body); err != nil {
		return err
	}
	return getJSON(record+"/"+os.Getenv("RUN"), &status)
}

func request(method, url string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequest(method, url, body) //nolint:noctx,gosec // As bare as it gets, and for the benchmark only.
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+os.Getenv("TOKEN"))
	req.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(req) //nolint:gosec // As above.
	if err == nil && response.StatusCode >= http.StatusMultipleChoices {
		return nil, fmt.Errorf("%s %s: %s", method, url, response.Status)
	}
	return response, err
}

func getJSON(url string, into any) error {
	response, err := request(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	return json.NewDecoder(response.Body).Decode(into)
}

func put(url string, body []byte) error {
	response, err := request(http.MethodPut, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

func tail(url string) ([]byte, error) {
	response, err := request(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var kept []byte
	buffer := make([]byte, 32<<10)
	for {
		n, err := response.Body.Read(buffer)
		if kept = append(kept, buffer[:n]...); len(kept) > 2*keep {
			kept = append(kept[:0], kept[len(kept)-keep:]...)
		}
		if err == io.EOF {
			return kept[max(0, len(kept)-keep):], nil
		}
		if err != nil {
			return nil, err
		}
	}
}
