// Package k8sclient is the pipeline service client: it keeps OpenMetadata's ingestion pipelines on Kubernetes as
// ConfigMaps, Secrets, CronJobs and Jobs.
package k8sclient

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	fieldpath "k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

// ErrConfig is wrapped by every error about the configuration.
var ErrConfig = errors.New("invalid configuration")

// Config holds the parameters of the pipeline service client. Their names, defaults and forms are those of OpenMetadata's
// pipelineServiceClientConfiguration.parameters; see LoadConfig.
type Config struct {
	// Namespace is where pipelines run.
	Namespace string
	// IngestionImage is the image of the container "ingestion".
	IngestionImage string
	// ExitHandlerImage brings the exithandler binary into pods whose ingestion image does not have it; where it is
	// empty, the binary is expected on the ingestion image's PATH.
	ExitHandlerImage string
	// Sidecar says whether a sidecar watches each run's pod.
	Sidecar            SidecarMode
	ImagePullPolicy    corev1.PullPolicy
	ImagePullSecrets   []string
	ServiceAccountName string
	Resources          corev1.ResourceRequirements
	// Seconds, as in the Job and CronJob that they are written to.
	TTLSecondsAfterFinished       int32
	ActiveDeadlineSeconds         int64
	BackoffLimit                  int32
	StartingDeadlineSeconds       int64
	SuccessfulJobsHistoryLimit    int32
	FailedJobsHistoryLimit        int32
	TerminationGracePeriodSeconds int64

	// RunAsUser, RunAsGroup and FSGroup are nil where the cluster shall choose, as OpenShift does.
	RunAsUser, RunAsGroup, FSGroup *int64
	RunAsNonRoot                   bool
	SeccompProfile                 *corev1.SeccompProfile

	NodeSelector      map[string]string
	Tolerations       []corev1.Toleration
	Affinity          *corev1.Affinity
	PriorityClassName string
	PodAnnotations    map[string]string
	PodLabels         map[string]string
	ExtraEnvVars      []corev1.EnvVar
	Volumes           []corev1.Volume
	VolumeMounts      []corev1.VolumeMount

	// SecretKeys are names of fields and variables whose values are kept in the Secret, with all that is below them, beside
	// those that are known to be secret.
	SecretKeys []string

	// RevisionHistoryLimit is how many earlier configurations of a pipeline are kept to roll back to.
	RevisionHistoryLimit int32

	// Enabled is false where the server shall run without a pipeline service client.
	Enabled bool
	// MetadataAPIEndpoint is OpenMetadata's address as the pods reach it, with /api. It is used for pipelines
	// that bring no connection of their own.
	MetadataAPIEndpoint string
	// HostIP is what HostIP answers, where it is set.
	HostIP string
	// IngestionIPInfoEnabled is false where HostIP shall answer nothing.
	IngestionIPInfoEnabled bool

	// KubeconfigPath and KubeConfigContent say how to reach the cluster; the content wins. Without both it is reached as
	// kubectl does, in a pod by its service account.
	KubeconfigPath    string
	KubeConfigContent string
}

// SidecarMode says whether pods have a sidecar that reports how they end.
type SidecarMode string

// The modes. SidecarAuto is on where the cluster has native sidecars: Kubernetes 1.29 or later.
const (
	SidecarAuto   SidecarMode = "auto"
	SidecarAlways SidecarMode = "always"
	SidecarNever  SidecarMode = "never"
)

// DefaultConfig has OpenMetadata's defaults.
func DefaultConfig() Config {
	return Config{
		Namespace:          "openmetadata-pipelines",
		IngestionImage:     "docker.getcollate.io/openmetadata/ingestion:latest",
		Sidecar:            SidecarAuto,
		ImagePullPolicy:    corev1.PullIfNotPresent,
		ServiceAccountName: "openmetadata-ingestion",
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("1Gi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi")},
		},
		TTLSecondsAfterFinished:       7 * 24 * 3600,
		ActiveDeadlineSeconds:         2 * 3600,
		BackoffLimit:                  3,
		StartingDeadlineSeconds:       60,
		SuccessfulJobsHistoryLimit:    3,
		FailedJobsHistoryLimit:        3,
		TerminationGracePeriodSeconds: 60,
		RunAsUser:                     new(int64(1000)),
		RunAsGroup:                    new(int64(1000)),
		FSGroup:                       new(int64(1000)),
		RunAsNonRoot:                  true,
		RevisionHistoryLimit:          5,
		Enabled:                       true,
		IngestionIPInfoEnabled:        true,
	}
}

// problems collects what is wrong, each with the name of its parameter.
type problems []error

func (p *problems) addf(parameter, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: %s", parameter, fmt.Sprintf(format, args...)))
}

// join gives one error for all, wrapping ErrConfig; nil where there is none.
func (p *problems) join() error {
	if len(*p) == 0 {
		return nil
	}
	slices.SortStableFunc(*p, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return fmt.Errorf("%w:\n  %w", ErrConfig, indented(*p))
}

// indented joins errors with a line each.
type indented []error

func (e indented) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n  ")
}

func (e indented) Unwrap() []error { return e }

// Validate gives all that is wrong at once. What it lets through the API server takes too, as far as that is known
// before a pipeline is.
func (c *Config) Validate() error {
	var p problems
	if messages := validation.IsDNS1123Label(c.Namespace); len(messages) > 0 {
		p.addf("namespace", "%q is not a namespace's name: %s", c.Namespace, strings.Join(messages, "; "))
	}
	if messages := validation.IsDNS1123Subdomain(c.ServiceAccountName); len(messages) > 0 {
		p.addf("serviceAccountName", "%q is not a service account's name: %s", c.ServiceAccountName, strings.Join(messages, "; "))
	}
	if strings.TrimSpace(c.IngestionImage) == "" {
		p.addf("ingestionImage", "is empty; give an image such as openmetadata/ingestion:1.12.6")
	}
	if modes := []SidecarMode{SidecarAuto, SidecarAlways, SidecarNever}; !slices.Contains(modes, c.Sidecar) {
		p.addf("sidecar", "%q is not one of %v", c.Sidecar, modes)
	}
	if policies := []corev1.PullPolicy{corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever}; !slices.Contains(policies, c.ImagePullPolicy) {
		p.addf("imagePullPolicy", "%q is not one of %v", c.ImagePullPolicy, policies)
	}
	for _, name := range c.ImagePullSecrets {
		if messages := validation.IsDNS1123Subdomain(name); len(messages) > 0 {
			p.addf("imagePullSecrets", "%q is not a Secret's name: %s", name, strings.Join(messages, "; "))
		}
	}
	c.validateNumbers(&p)
	c.validateResources(&p)
	c.validateMetadata(&p)
	c.validateSeccomp(&p)
	c.validateVolumes(&p)
	return p.join()
}

func (c *Config) validateNumbers(p *problems) {
	for parameter, value := range map[string]int64{
		"ttlSecondsAfterFinished": int64(c.TTLSecondsAfterFinished), "backoffLimit": int64(c.BackoffLimit),
		"startingDeadlineSeconds": c.StartingDeadlineSeconds, "terminationGracePeriodSeconds": c.TerminationGracePeriodSeconds,
		"successfulJobsHistoryLimit": int64(c.SuccessfulJobsHistoryLimit), "failedJobsHistoryLimit": int64(c.FailedJobsHistoryLimit),
		"revisionHistoryLimit": int64(c.RevisionHistoryLimit),
	} {
		if value < 0 {
			p.addf(parameter, "%d is less than 0", value)
		}
	}
	for parameter, id := range map[string]*int64{"runAsUser": c.RunAsUser, "runAsGroup": c.RunAsGroup, "fsGroup": c.FSGroup} {
		if id != nil && *id < 0 {
			p.addf(parameter, "%d is less than 0", *id)
		}
	}
	if c.ActiveDeadlineSeconds <= 0 {
		p.addf("activeDeadlineSeconds", "%d is not greater than 0; a run without a deadline can block its schedule for ever", c.ActiveDeadlineSeconds)
	}
	if c.RunAsNonRoot && c.RunAsUser != nil && *c.RunAsUser == 0 {
		p.addf("runAsUser", "0 is root, which runAsNonRoot forbids; set one of the two")
	}
}

func (c *Config) validateResources(p *problems) {
	for name, request := range c.Resources.Requests {
		if limit, ok := c.Resources.Limits[name]; ok && request.Cmp(limit) > 0 {
			p.addf("resources", "requests.%s %s is more than limits.%s %s", name, request.String(), name, limit.String())
		}
	}
	for parameter, list := range map[string]corev1.ResourceList{"resources.requests": c.Resources.Requests, "resources.limits": c.Resources.Limits} {
		for name, quantity := range list {
			if quantity.Sign() < 0 {
				p.addf(parameter, "%s: %s is less than 0", name, quantity.String())
			}
		}
	}
}

func (c *Config) validateMetadata(p *problems) {
	for key := range c.PodAnnotations {
		if messages := validation.IsQualifiedName(strings.ToLower(key)); len(messages) > 0 {
			p.addf("podAnnotations", "%q is not an annotation's name: %s", key, strings.Join(messages, "; "))
		}
	}
	for parameter, set := range map[string]map[string]string{"podLabels": c.PodLabels, "nodeSelector": c.NodeSelector} {
		for _, err := range metav1validation.ValidateLabels(set, fieldpath.NewPath(parameter)) {
			p.addf(parameter, "%s", err.Detail)
		}
	}
	for _, env := range c.ExtraEnvVars {
		if messages := validation.IsEnvVarName(env.Name); len(messages) > 0 {
			p.addf("extraEnvVars", "%q is not a variable's name: %s", env.Name, strings.Join(messages, "; "))
		}
		if slices.Contains(identity.Variables(), env.Name) {
			p.addf("extraEnvVars", "variable %s is set by pipelinectl itself", env.Name)
		}
	}
}

func (c *Config) validateSeccomp(p *problems) {
	if c.SeccompProfile == nil {
		return
	}
	switch c.SeccompProfile.Type {
	case corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined:
		if c.SeccompProfile.LocalhostProfile != nil {
			p.addf("seccompProfile", "localhostProfile is for type Localhost only")
		}
	case corev1.SeccompProfileTypeLocalhost:
		if c.SeccompProfile.LocalhostProfile == nil || *c.SeccompProfile.LocalhostProfile == "" {
			p.addf("seccompProfile", "type Localhost needs localhostProfile, a path below the kubelet's seccomp folder")
		}
	default:
		p.addf("seccompProfile", "%q is not one of RuntimeDefault, Localhost, Unconfined", c.SeccompProfile.Type)
	}
}

func (c *Config) validateVolumes(p *problems) {
	known := map[string]bool{}
	for _, volume := range c.Volumes {
		if messages := validation.IsDNS1123Label(volume.Name); len(messages) > 0 {
			p.addf("volumes", "%q is not a volume's name: %s", volume.Name, strings.Join(messages, "; "))
		}
		if known[volume.Name] || volume.Name == toolsVolume {
			p.addf("volumes", "volume %s is there twice", volume.Name)
		}
		known[volume.Name] = true
	}
	for _, mount := range c.VolumeMounts {
		if !known[mount.Name] {
			p.addf("volumeMounts", "%s mounts volume %q, which is not in volumes", mount.MountPath, mount.Name)
		}
		if !strings.HasPrefix(mount.MountPath, "/") {
			p.addf("volumeMounts", "%q of volume %s is not an absolute path", mount.MountPath, mount.Name)
		}
	}
}

// Warnings are about values that are taken, but may not do what was meant.
func (c *Config) Warnings() []string {
	var out []string
	if c.StartingDeadlineSeconds == 0 {
		out = append(out, fmt.Sprintf("startingDeadlineSeconds: 0 means no catch-up, but a CronJob with 0 never fires; %d is used", noCatchUpSeconds))
	}
	if c.StartingDeadlineSeconds > 0 && c.StartingDeadlineSeconds < controllerInterval {
		out = append(out, fmt.Sprintf("startingDeadlineSeconds: the CronJob controller looks every %d s, with %d it misses ticks", controllerInterval, c.StartingDeadlineSeconds))
	}
	if strings.HasSuffix(c.IngestionImage, ":latest") || !strings.ContainsAny(imageTag(c.IngestionImage), ":@") {
		out = append(out, "ingestionImage: "+c.IngestionImage+" moves; pin the tag to the server's version, the two must fit")
	}
	return out
}

// imageTag is what follows the last slash, where a tag or digest is.
func imageTag(image string) string { return image[strings.LastIndex(image, "/")+1:] }
