// Package k8sclient is the pipeline service client: it keeps OpenMetadata's ingestion pipelines on Kubernetes as
// ConfigMaps, Secrets, CronJobs and Jobs.
package k8sclient

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// ErrConfig is wrapped by every error about the configuration.
var ErrConfig = errors.New("invalid configuration")

// Config holds the parameters of the pipeline service client, by the names of OpenMetadata's
// pipelineServiceClientConfiguration.parameters, and their defaults in DefaultConfig.
type Config struct {
	// Namespace is where pipelines run.
	Namespace string `json:"namespace"`
	// IngestionImage is the image of the container "ingestion"; it has the exithandler binary on its PATH.
	IngestionImage     string            `json:"ingestionImage"`
	ImagePullPolicy    corev1.PullPolicy `json:"imagePullPolicy"`
	ImagePullSecrets   []string          `json:"imagePullSecrets"`
	ServiceAccountName string            `json:"serviceAccountName"`
	Resources          Resources         `json:"resources"`
	// Seconds, as in the Job and CronJob that they are written to.
	TTLSecondsAfterFinished       int32 `json:"ttlSecondsAfterFinished"`
	ActiveDeadlineSeconds         int64 `json:"activeDeadlineSeconds"`
	BackoffLimit                  int32 `json:"backoffLimit"`
	StartingDeadlineSeconds       int64 `json:"startingDeadlineSeconds"`
	SuccessfulJobsHistoryLimit    int32 `json:"successfulJobsHistoryLimit"`
	FailedJobsHistoryLimit        int32 `json:"failedJobsHistoryLimit"`
	TerminationGracePeriodSeconds int64 `json:"terminationGracePeriodSeconds"`

	RunAsUser      int64             `json:"runAsUser"`
	RunAsGroup     int64             `json:"runAsGroup"`
	FSGroup        int64             `json:"fsGroup"`
	RunAsNonRoot   bool              `json:"runAsNonRoot"`
	NodeSelector   map[string]string `json:"nodeSelector"`
	PodAnnotations map[string]string `json:"podAnnotations"`

	// MetadataAPIEndpoint is OpenMetadata's address as the pods reach it, with /api. It is used for pipelines
	// that bring no connection of their own.
	MetadataAPIEndpoint string `json:"metadataApiEndpoint"`
}

// Resources are the ingestion container's requests and limits.
type Resources struct {
	Requests map[corev1.ResourceName]string `json:"requests"`
	Limits   map[corev1.ResourceName]string `json:"limits"`
}

// DefaultConfig has OpenMetadata's defaults.
func DefaultConfig() Config {
	const id = 1000
	return Config{
		Namespace:          "openmetadata-pipelines",
		IngestionImage:     "docker.getcollate.io/openmetadata/ingestion:latest",
		ImagePullPolicy:    corev1.PullIfNotPresent,
		ServiceAccountName: "openmetadata-ingestion",
		Resources: Resources{
			Requests: map[corev1.ResourceName]string{corev1.ResourceCPU: "500m", corev1.ResourceMemory: "1Gi"},
			Limits:   map[corev1.ResourceName]string{corev1.ResourceCPU: "2", corev1.ResourceMemory: "4Gi"},
		},
		TTLSecondsAfterFinished:       7 * 24 * 3600,
		ActiveDeadlineSeconds:         2 * 3600,
		BackoffLimit:                  3,
		StartingDeadlineSeconds:       60,
		SuccessfulJobsHistoryLimit:    3,
		FailedJobsHistoryLimit:        3,
		TerminationGracePeriodSeconds: 60,
		RunAsUser:                     id,
		RunAsGroup:                    id,
		FSGroup:                       id,
		RunAsNonRoot:                  true,
	}
}

// LoadConfig reads a YAML file over the defaults: the parameters alone, or OpenMetadata's
// pipelineServiceClientConfiguration with its parameters. An empty path gives the defaults.
func LoadConfig(path string) (Config, error) {
	config := DefaultConfig()
	if path == "" {
		return config, nil
	}
	data, err := os.ReadFile(path) //nolint:gosec // The path is the user's own.
	if err != nil {
		return config, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := config.read(data); err != nil {
		return config, fmt.Errorf("%w: %s: %w", ErrConfig, path, err)
	}
	return config, nil
}

func (c *Config) read(data []byte) error {
	var file struct {
		Nested *map[string]any `json:"pipelineServiceClientConfiguration"`
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		return err
	}
	if file.Nested == nil {
		return c.readParameters(data)
	}
	nested := *file.Nested
	parameters, _ := nested["parameters"].(map[string]any)
	if endpoint, ok := nested["metadataApiEndpoint"].(string); ok {
		c.MetadataAPIEndpoint = endpoint
	}
	data, err := yaml.Marshal(parameters)
	if err != nil {
		return err
	}
	return c.readParameters(data)
}

func (c *Config) readParameters(data []byte) error {
	var keys map[string]any
	if err := yaml.Unmarshal(data, &keys); err != nil {
		return err
	}
	var unknown []string
	for key := range keys {
		if !slices.Contains(parameterNames(), key) {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("unknown parameter %s; known are %s", strings.Join(unknown, ", "), strings.Join(parameterNames(), ", "))
	}
	return yaml.UnmarshalStrict(data, c)
}

func parameterNames() []string {
	t := reflect.TypeFor[Config]()
	names := make([]string, 0, t.NumField())
	for field := range t.Fields() {
		names = append(names, field.Tag.Get("json"))
	}
	return names
}

// Validate gives all that is wrong at once.
func (c *Config) Validate() error {
	var errs []error
	bad := func(parameter, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", parameter, fmt.Sprintf(format, args...)))
	}
	if messages := validation.IsDNS1123Label(c.Namespace); len(messages) > 0 {
		bad("namespace", "%q is not a namespace's name: %s", c.Namespace, strings.Join(messages, "; "))
	}
	if strings.TrimSpace(c.IngestionImage) == "" {
		bad("ingestionImage", "is empty; give an image such as openmetadata/ingestion:1.12.6")
	}
	if policies := []corev1.PullPolicy{corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever}; !slices.Contains(policies, c.ImagePullPolicy) {
		bad("imagePullPolicy", "%q is not one of %v", c.ImagePullPolicy, policies)
	}
	for parameter, list := range map[string]map[corev1.ResourceName]string{"resources.requests": c.Resources.Requests, "resources.limits": c.Resources.Limits} {
		for name, quantity := range list {
			if _, err := resource.ParseQuantity(quantity); err != nil {
				bad(parameter, "%s: %q is not a quantity such as 500m or 4Gi", name, quantity)
			}
		}
	}
	for parameter, value := range map[string]int64{
		"ttlSecondsAfterFinished": int64(c.TTLSecondsAfterFinished), "backoffLimit": int64(c.BackoffLimit),
		"startingDeadlineSeconds": c.StartingDeadlineSeconds, "terminationGracePeriodSeconds": c.TerminationGracePeriodSeconds,
		"successfulJobsHistoryLimit": int64(c.SuccessfulJobsHistoryLimit), "failedJobsHistoryLimit": int64(c.FailedJobsHistoryLimit),
	} {
		if value < 0 {
			bad(parameter, "%d is less than 0", value)
		}
	}
	if c.ActiveDeadlineSeconds <= 0 {
		bad("activeDeadlineSeconds", "%d is not greater than 0; a run without a deadline can block its schedule for ever", c.ActiveDeadlineSeconds)
	}
	if len(errs) == 0 {
		return nil
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return fmt.Errorf("%w: %w", ErrConfig, errors.Join(errs...))
}
