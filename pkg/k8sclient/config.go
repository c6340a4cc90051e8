// Package k8sclient is the pipeline service client: it keeps OpenMetadata's ingestion pipelines on Kubernetes as
// ConfigMaps, Secrets, CronJobs and Jobs.
package k8sclient

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation"
	fieldpath "k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
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
	Sidecar SidecarMode
	// ServiceMesh says what a service mesh that injects its proxy into pods is to do with those of runs; empty for what it does
	// by itself.
	ServiceMesh        ServiceMesh
	ImagePullPolicy    corev1.PullPolicy
	ImagePullSecrets   []string
	ServiceAccountName string
	Resources          corev1.ResourceRequirements
	// SidecarResources are those of the sidecar, and of the init container that brings the exithandler binary.
	SidecarResources corev1.ResourceRequirements
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
	// QueueName is the Kueue queue that admits runs; empty: they start at once.
	QueueName      string
	PodAnnotations map[string]string
	PodLabels      map[string]string
	ExtraEnvVars   []corev1.EnvVar
	Volumes        []corev1.Volume
	VolumeMounts   []corev1.VolumeMount

	// SecretKeys are fields and variables whose values are kept in the Secret, with all that is below them, beside those that
	// are known to be secret. PublicKeys are not kept there, though their names or values look secret. Both are names, or JSON
	// pointers as Explain gives them.
	SecretKeys, PublicKeys []string

	// RevisionHistoryLimit is how many earlier configurations of a pipeline are kept to roll back to.
	RevisionHistoryLimit int32

	// Enabled is false where the server shall run without a pipeline service client.
	Enabled bool
	// MetadataAPIEndpoint is OpenMetadata's address as the pods reach it, with /api. It is used for pipelines
	// that bring no connection of their own.
	MetadataAPIEndpoint string
	// VerifySSL and CACertificate, a path, say how the pods check OpenMetadata's certificate, and AuthProvider is no-auth for a
	// server that wants no token. They too are for pipelines that bring no connection of their own.
	VerifySSL     omapi.VerifySSL
	CACertificate string
	AuthProvider  string
	// ExtraHeaders are sent with each request to OpenMetadata, by the pods of such pipelines too.
	ExtraHeaders map[string]string
	// HostIP is what HostIP answers, where it is set.
	HostIP string
	// IngestionIPInfoEnabled is false where HostIP shall answer nothing.
	IngestionIPInfoEnabled bool

	// KubeconfigPath and KubeConfigContent say how to reach the cluster; the content wins. Without both it is reached as
	// kubectl does, in a pod by its service account.
	KubeconfigPath    string
	KubeConfigContent string
}

// ServiceMesh says how the pods of runs and a service mesh, Istio or Linkerd, go together.
type ServiceMesh string

// The ways. A proxy that is a native sidecar ends with its pod; any other keeps it running until somebody ends it.
const (
	// ServiceMeshNone keeps the proxy out.
	ServiceMeshNone ServiceMesh = "none"
	// ServiceMeshNative makes it a native sidecar.
	ServiceMeshNative ServiceMesh = "native"
)

// meta gives the labels and annotations by which Istio and Linkerd take it. Linkerd has renamed its own, twice.
func (m ServiceMesh) meta() (labels, annotations map[string]string) {
	const yes, no, istio = "true", "false", "sidecar.istio.io/inject"
	switch m {
	case ServiceMeshNone:
		return map[string]string{istio: no}, map[string]string{istio: no, "linkerd.io/inject": "disabled"}
	case ServiceMeshNative:
		const linkerd = "linkerd.io/proxy-enable-native-sidecar"
		return nil, map[string]string{
			"sidecar.istio.io/nativeSidecar": yes,
			"config." + linkerd:              yes, "config.beta." + linkerd: yes, "config.alpha." + linkerd: yes,
		}
	default:
		return nil, nil
	}
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
		SidecarResources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
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
		SeccompProfile:                defaultSeccomp(),
		RevisionHistoryLimit:          5,
		Enabled:                       true,
		VerifySSL:                     omapi.VerifyNoSSL,
		AuthProvider:                  "openmetadata",
		IngestionIPInfoEnabled:        true,
	}
}

// defaultSeccomp is what Pod Security's level "restricted" asks for; it is the profile that most runtimes have by default.
func defaultSeccomp() *corev1.SeccompProfile {
	return &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
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
	p := c.validate()
	return p.join()
}

func (c *Config) validate() problems {
	var p problems
	if messages := validation.IsDNS1123Label(c.Namespace); len(messages) > 0 {
		p.addf("namespace", "%q is not a namespace's name: %s", c.Namespace, strings.Join(messages, "; "))
	}
	if messages := validation.IsDNS1123Subdomain(c.ServiceAccountName); len(messages) > 0 {
		p.addf("serviceAccountName", "%q is not a service account's name: %s", c.ServiceAccountName, strings.Join(messages, "; "))
	}
	if c.PriorityClassName != "" {
		if messages := validation.IsDNS1123Subdomain(c.PriorityClassName); len(messages) > 0 {
			p.addf("priorityClassName", "%q is not a priority class's name: %s", c.PriorityClassName, strings.Join(messages, "; "))
		}
	}
	c.validateSecrets(&p)
	if c.QueueName != "" {
		// Kueue's rule, and that of a label.
		if messages := append(validation.IsDNS1123Subdomain(c.QueueName), validation.IsValidLabelValue(c.QueueName)...); len(messages) > 0 {
			p.addf("queueName", "%q is not a queue's name: %s", c.QueueName, strings.Join(messages, "; "))
		}
	}
	c.validateImages(&p)
	c.validateServer(&p)
	if ways := []ServiceMesh{"", ServiceMeshNone, ServiceMeshNative}; !slices.Contains(ways, c.ServiceMesh) {
		p.addf("serviceMesh", "%q is neither none, which keeps the proxy of Istio or Linkerd out of pods, nor native, which makes it a native sidecar", c.ServiceMesh)
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
	c.validateScheduling(&p)
	return p
}

// imageName is the grammar of an image's name (github.com/distribution/reference): a registry with a port, a path, a tag
// and a digest.
var imageName = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[A-Za-z0-9+._-]+:[0-9a-fA-F]{32,})?$`)

func (c *Config) validateImages(p *problems) {
	const example = "such as openmetadata/ingestion:1.12.6"
	if c.IngestionImage == "" {
		p.addf("ingestionImage", "is empty; give an image %s", example)
	}
	for parameter, image := range map[string]string{"ingestionImage": c.IngestionImage, "exitHandlerImage": c.ExitHandlerImage} {
		if image != "" && !imageName.MatchString(image) {
			p.addf(parameter, "%q is not an image %s, or one with registry, port and digest", image, example)
		}
	}
}

func (c *Config) validateServer(p *problems) {
	switch modes := []omapi.VerifySSL{omapi.VerifyNoSSL, omapi.VerifyIgnore, omapi.VerifyValidate}; {
	case c.VerifySSL != "" && !slices.Contains(modes, c.VerifySSL):
		p.addf("verifySSL", "%q is not one of %v", c.VerifySSL, modes)
	case c.VerifySSL == omapi.VerifyValidate && c.CACertificate == "":
		p.addf("sslConfig", "verifySSL is validate, so caCertificate has to be the path of the certificate authority's file in the pods")
	}
	if err := omapi.CheckHeaders(c.ExtraHeaders); err != nil {
		p.addf("extraHeaders", "%v", err)
	}
}

// validateScheduling checks what the API server would refuse of every run's pod, after the run has begun.
func (c *Config) validateScheduling(p *problems) {
	for _, toleration := range c.Tolerations {
		validateToleration(p, toleration)
	}
	if c.Affinity == nil {
		return
	}
	if node := c.Affinity.NodeAffinity; node != nil {
		if required := node.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
			if len(required.NodeSelectorTerms) == 0 {
				p.addf("affinity", "nodeAffinity has no nodeSelectorTerms")
			}
			for _, term := range required.NodeSelectorTerms {
				validateNodeTerm(p, term)
			}
		}
		for _, preferred := range node.PreferredDuringSchedulingIgnoredDuringExecution {
			validateWeight(p, preferred.Weight)
			validateNodeTerm(p, preferred.Preference)
		}
	}
	if pod := c.Affinity.PodAffinity; pod != nil {
		validatePodTerms(p, pod.RequiredDuringSchedulingIgnoredDuringExecution, pod.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if pod := c.Affinity.PodAntiAffinity; pod != nil {
		validatePodTerms(p, pod.RequiredDuringSchedulingIgnoredDuringExecution, pod.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

// validateToleration has the rules of ValidateTolerations in k8s.io/kubernetes/pkg/apis/core/validation.
func validateToleration(p *problems, t corev1.Toleration) {
	const parameter = "tolerations"
	if t.Key != "" {
		for _, message := range validation.IsQualifiedName(t.Key) {
			p.addf(parameter, "key %q: %s", t.Key, message)
		}
	}
	switch t.Operator {
	case corev1.TolerationOpExists:
		if t.Value != "" {
			p.addf(parameter, "key %q: operator Exists takes no value", t.Key)
		}
	case corev1.TolerationOpEqual, "":
		if t.Key == "" {
			p.addf(parameter, "one without a key has operator Exists")
		}
		for _, message := range validation.IsValidLabelValue(t.Value) {
			p.addf(parameter, "key %q, value %q: %s", t.Key, t.Value, message)
		}
	default:
		p.addf(parameter, "key %q: operator %q is not one of Exists, Equal", t.Key, t.Operator)
	}
	switch t.Effect {
	case "", corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
	default:
		p.addf(parameter, "key %q: effect %q is not one of NoSchedule, PreferNoSchedule, NoExecute", t.Key, t.Effect)
	}
	if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
		p.addf(parameter, "key %q: tolerationSeconds is for effect NoExecute", t.Key)
	}
}

func validateNodeTerm(p *problems, term corev1.NodeSelectorTerm) {
	operators := map[corev1.NodeSelectorOperator]selection.Operator{
		corev1.NodeSelectorOpIn: selection.In, corev1.NodeSelectorOpNotIn: selection.NotIn, corev1.NodeSelectorOpExists: selection.Exists,
		corev1.NodeSelectorOpDoesNotExist: selection.DoesNotExist, corev1.NodeSelectorOpGt: selection.GreaterThan, corev1.NodeSelectorOpLt: selection.LessThan,
	}
	for _, expression := range term.MatchExpressions {
		if _, err := labels.NewRequirement(expression.Key, operators[expression.Operator], expression.Values); err != nil {
			p.addf("affinity", "nodeAffinity, key %q, operator %q: %v", expression.Key, expression.Operator, err)
		}
	}
}

func validatePodTerms(p *problems, terms []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
	for _, weighted := range preferred {
		validateWeight(p, weighted.Weight)
		terms = append(slices.Clip(terms), weighted.PodAffinityTerm)
	}
	for _, term := range terms {
		for _, message := range validation.IsQualifiedName(term.TopologyKey) {
			p.addf("affinity", "topologyKey %q: %s", term.TopologyKey, message)
		}
		if term.LabelSelector != nil {
			for _, err := range metav1validation.ValidateLabelSelector(term.LabelSelector, metav1validation.LabelSelectorValidationOptions{}, fieldpath.NewPath("labelSelector")) {
				p.addf("affinity", "%v", err)
			}
		}
	}
}

func validateWeight(p *problems, weight int32) {
	if weight < 1 || weight > 100 {
		p.addf("affinity", "weight %d is not between 1 and 100", weight)
	}
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
	validateRequirements(p, "resources", c.Resources)
	validateRequirements(p, "sidecarResources", c.SidecarResources)
	for name, least := range leastSidecar() {
		if limit, ok := c.SidecarResources.Limits[name]; ok && limit.Cmp(least) < 0 {
			p.addf("sidecarResources", "limits.%s %s is less than %s, with which exithandler could not report", name, limit.String(), least.String())
		}
	}
}

// leastSidecar are the least limits with which exithandler works: a report takes 10 to 17 MiB, and 10 ms of CPU.
func leastSidecar() corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m"), corev1.ResourceMemory: resource.MustParse("32Mi")}
}

func validateRequirements(p *problems, parameter string, given corev1.ResourceRequirements) {
	for name, request := range given.Requests {
		if limit, ok := given.Limits[name]; ok && request.Cmp(limit) > 0 {
			p.addf(parameter, "requests.%s %s is more than limits.%s %s", name, request.String(), name, limit.String())
		}
	}
	for part, list := range map[string]corev1.ResourceList{parameter + ".requests": given.Requests, parameter + ".limits": given.Limits} {
		for name, quantity := range list {
			if quantity.Sign() < 0 {
				p.addf(part, "%s: %s is less than 0", name, quantity.String())
			}
			if !isResource(name) {
				p.addf(part, "%q is not a resource of a container; it has cpu, memory, ephemeral-storage, hugepages-SIZE, and others with a domain, such as nvidia.com/gpu", name)
			}
		}
	}
}

func isResource(name corev1.ResourceName) bool {
	if strings.Contains(string(name), "/") {
		return len(validation.IsQualifiedName(string(name))) == 0
	}
	return slices.Contains([]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}, name) ||
		strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

func (c *Config) validateMetadata(p *problems) {
	for _, err := range apivalidation.ValidateAnnotations(c.PodAnnotations, fieldpath.NewPath("podAnnotations")) {
		p.addf("podAnnotations", "%v: %s", err.BadValue, err.Detail)
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
		} else if path := *c.SeccompProfile.LocalhostProfile; !filepath.IsLocal(path) || filepath.Clean(path) == "." {
			p.addf("seccompProfile", "localhostProfile %q is not a path below the kubelet's seccomp folder", path)
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
	if moves(c.IngestionImage) {
		out = append(out, "ingestionImage: "+c.IngestionImage+" "+movingImage+"; "+pinImage)
	}
	return out
}

// What is told of an image whose name moves.
const (
	movingImage = "is whatever is newest when a node pulls it"
	pinImage    = "name the version of the OpenMetadata server, as the two must fit, or a digest"
)

// moves says that an image's name may mean another image tomorrow.
func moves(image string) bool {
	last := image[strings.LastIndex(image, "/")+1:]
	return !strings.Contains(image, "@") && (!strings.Contains(last, ":") || strings.HasSuffix(last, ":latest"))
}
