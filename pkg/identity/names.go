package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// Kubernetes' bounds: a label value, and a CronJob's name, to which its controller appends 11 characters.
const (
	maxLabelValue  = 63
	maxCronJobName = 52
	hashLength     = 8
	runIDLength    = 8
)

const (
	configMapPrefix = "om-config-"
	secretPrefix    = "om-secret-"
	cronJobPrefix   = "om-cronjob-"
	jobPrefix       = "om-job-"
)

var outsideDNSLabel = regexp.MustCompile(`[^a-z0-9]+`)

// ObjectNames are the names of one pipeline's objects.
type ObjectNames struct {
	ConfigMap string
	Secret    string
	CronJob   string
	// Label is the value of the label app.kubernetes.io/pipeline.
	Label string
}

// NamesOf gives the names of the objects of a pipeline. A pipeline's name that has to be changed to fit gets a hash of
// its fully qualified name, so that two pipelines never share objects.
func NamesOf(name, fqn string) ObjectNames {
	return ObjectNames{
		ConfigMap: configMapPrefix + fit(name, fqn, maxLabelValue-len(configMapPrefix)),
		Secret:    secretPrefix + fit(name, fqn, maxLabelValue-len(secretPrefix)),
		CronJob:   cronJobPrefix + fit(name, fqn, maxCronJobName-len(cronJobPrefix)),
		Label:     fit(name, fqn, maxLabelValue),
	}
}

// JobName is the name of the Job of an on-demand run.
func JobName(name, fqn, runID string) string {
	run := runID[:min(runIDLength, len(runID))]
	return jobPrefix + fit(name, fqn, maxLabelValue-len(jobPrefix)-len(run)-1) + "-" + run
}

func fit(name, fqn string, longest int) string {
	sanitised := strings.Trim(outsideDNSLabel.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if name != "" && sanitised == name && len(name) <= longest {
		return name
	}
	sum := sha256.Sum256([]byte(fqn))
	hash := hex.EncodeToString(sum[:])[:hashLength]
	sanitised = strings.TrimRight(sanitised[:min(len(sanitised), longest-hashLength-1)], "-")
	if sanitised == "" {
		return hash
	}
	return sanitised + "-" + hash
}
