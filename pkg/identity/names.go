package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
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
	configMapPrefix  = "om-config-"
	secretPrefix     = "om-secret-"
	cronJobPrefix    = "om-cronjob-"
	jobPrefix        = "om-job-"
	revisionPrefix   = "om-revision-"
	automationPrefix = "om-automation-"
	appPrefix        = "om-app-"
)

var outsideDNSLabel = regexp.MustCompile(`[^a-z0-9]+`)

// ObjectNames are the names of one pipeline's objects.
type ObjectNames struct {
	ConfigMap string
	Secret    string
	CronJob   string
	// Label is the value of the label app.kubernetes.io/pipeline.
	Label string

	name, fqn string
	hashed    bool
}

// NamesOf gives the names of the objects of a pipeline. A pipeline's name that has to be changed to fit gets a hash of
// its fully qualified name, so that two pipelines never share objects.
func NamesOf(name, fqn string) ObjectNames { return namesOf(name, fqn, false) }

// HashedNamesOf gives the names of a pipeline whose NamesOf belong to one of the same name in another service: they have
// a hash of the fully qualified name, whether they would fit or not.
func HashedNamesOf(name, fqn string) ObjectNames { return namesOf(name, fqn, true) }

func namesOf(name, fqn string, hashed bool) ObjectNames {
	out := ObjectNames{name: name, fqn: fqn, hashed: hashed}
	out.ConfigMap = out.fit(configMapPrefix, maxLabelValue)
	out.Secret = out.fit(secretPrefix, maxLabelValue)
	out.CronJob = out.fit(cronJobPrefix, maxCronJobName)
	out.Label = out.fit("", maxLabelValue)
	return out
}

func (n ObjectNames) fit(prefix string, longest int) string {
	longest -= len(prefix)
	if n.hashed {
		return prefix + withHash(n.name, n.fqn, longest)
	}
	return prefix + fit(n.name, n.fqn, longest)
}

// Revision is the name of the Secret that keeps an earlier configuration of the pipeline.
func (n ObjectNames) Revision(revision int64) string {
	number := "-" + strconv.FormatInt(revision, 10)
	return n.fit(revisionPrefix, maxLabelValue-len(number)) + number
}

// JobName is the name of the Job of an on-demand run, also of an application's pipeline, and of the Secret of a run that has
// one.
func JobName(name, fqn, runID string) string { return runName(jobPrefix, name, fqn, runID) }

// AutomationName is the name of the Job of an automation workflow, and of its Secret.
func AutomationName(name, runID string) string { return runName(automationPrefix, name, name, runID) }

// ApplicationName is the name of the Job of an application that is run without a pipeline, and of its Secret.
func ApplicationName(name, runID string) string { return runName(appPrefix, name, name, runID) }

func runName(prefix, name, fqn, runID string) string {
	run := runID[:min(runIDLength, len(runID))]
	return prefix + fit(name, fqn, maxLabelValue-len(prefix)-len(run)-1) + "-" + run
}

// Candidates are the names that a pipeline's objects may have, the preferred ones first.
func Candidates(name, fqn string) []ObjectNames {
	preferred, hashed := NamesOf(name, fqn), HashedNamesOf(name, fqn)
	if preferred.ConfigMap == hashed.ConfigMap {
		return []ObjectNames{preferred}
	}
	return []ObjectNames{preferred, hashed}
}

// LabelValue makes a label's value of any text.
func LabelValue(text string) string { return fit(text, text, maxLabelValue) }

func fit(name, fqn string, longest int) string {
	if name != "" && sanitise(name) == name && len(name) <= longest {
		return name
	}
	return withHash(name, fqn, longest)
}

func sanitise(name string) string {
	return strings.Trim(outsideDNSLabel.ReplaceAllString(strings.ToLower(name), "-"), "-")
}

func withHash(name, fqn string, longest int) string {
	sanitised, hash := sanitise(name), Hash(fqn)
	sanitised = strings.TrimRight(sanitised[:min(len(sanitised), longest-hashLength-1)], "-")
	if sanitised == "" {
		return hash
	}
	return sanitised + "-" + hash
}

// Hash tells pipelines apart, by their fully qualified names, where those cannot be written.
func Hash(fqn string) string {
	sum := sha256.Sum256([]byte(fqn))
	return hex.EncodeToString(sum[:])[:hashLength]
}

// LedgerName is the ConfigMap in which pipelinectl serve remembers the runs of its namespace that have not ended: by their ids,
// the fully qualified names of their pipelines.
const LedgerName = "pipelinectl-runs"
