package k8sclient

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
	"github.com/pipelinectl/pipelinectl/pkg/omapi"
)

// ErrIncomplete is for a pipeline that cannot run, as a deploy or a delete of it was cut off; test with errors.Is.
var ErrIncomplete = errors.New("the pipeline is incomplete")

// Why a pipeline is incomplete.
const (
	incompleteConfigMap = "its ConfigMap is missing, so it cannot run"
	incompleteDelete    = "its deletion has not been finished"
	incompleteSecret    = "its Secret is missing, so it cannot run"
	incompleteLater     = "a later deploy was not finished; the configuration before it is in force"
	incompleteNoCronJob = "its CronJob is missing, so it is not scheduled"
	incompleteCronJob   = "its CronJob is not of the configuration in force"
	incompleteUnwanted  = "its CronJob is still there, though it has no schedule any more"
)

// parts are the objects of one pipeline; nil where there is none.
type parts struct {
	fqn                        string
	names                      identity.ObjectNames
	configMap, secret, cronJob metav1.Object
	// secretUnknown: whoever asks may not read Secrets.
	secretUnknown bool
}

// problem is why the pipeline is incomplete; empty where it is not.
func (p *parts) problem() string {
	if p.configMap == nil {
		return incompleteConfigMap
	}
	of := p.configMap.GetAnnotations()
	id, known := of[identity.AnnotationDeploy]
	schedule, scheduleKnown := of[identity.AnnotationSchedule]
	switch {
	case of[identity.AnnotationDeleteRequested] != "" || p.configMap.GetDeletionTimestamp() != nil:
		return incompleteDelete
	case p.secret == nil && !p.secretUnknown:
		return incompleteSecret
	case !known || !scheduleKnown:
		return "" // Deployed before objects told.
	case p.secret != nil && p.secret.GetAnnotations()[identity.AnnotationDeploy] != id:
		return incompleteLater
	default:
		return p.scheduleProblem(id, schedule != "")
	}
}

// scheduleProblem is what is wrong with the CronJob of the deploy with this id; empty if nothing is.
func (p *parts) scheduleProblem(id string, scheduled bool) string {
	switch {
	case scheduled && (p.cronJob == nil || p.cronJob.GetDeletionTimestamp() != nil):
		return incompleteNoCronJob
	case !scheduled && p.cronJob != nil:
		return incompleteUnwanted
	case scheduled && p.cronJob.GetAnnotations()[identity.AnnotationDeploy] != id:
		return incompleteCronJob
	default:
		return ""
	}
}

// signature changes with every write of an object, but for a CronJob's status.
func (p *parts) signature() string {
	var out []string
	for _, o := range []metav1.Object{p.configMap, p.secret, p.cronJob} {
		if o == nil {
			out = append(out, "")
			continue
		}
		version := o.GetResourceVersion()
		if o.GetGeneration() > 0 {
			version = fmt.Sprint(o.GetGeneration(), o.GetAnnotations()[identity.AnnotationDeploy])
		}
		out = append(out, string(o.GetUID())+"/"+version)
	}
	return strings.Join(out, " ")
}

// assemble puts the objects together by the pipeline that they belong to. The objects of a run have names of their own.
func assemble(configMaps, secrets, cronJobs []metav1.Object) map[string]*parts {
	out := map[string]*parts{}
	add := func(objects []metav1.Object, named func(identity.ObjectNames) string, set func(*parts, metav1.Object)) {
		for _, o := range objects {
			fqn := o.GetAnnotations()[identity.AnnotationFQN]
			if fqn == "" {
				continue
			}
			for _, names := range identity.Candidates(nameOf(fqn), fqn) {
				if named(names) != o.GetName() {
					continue
				}
				p := out[fqn]
				if p == nil {
					p = &parts{fqn: fqn, names: names}
					out[fqn] = p
				}
				if p.names.ConfigMap == names.ConfigMap || p.configMap == nil {
					set(p, o)
				}
			}
		}
	}
	add(configMaps, func(n identity.ObjectNames) string { return n.ConfigMap }, func(p *parts, o metav1.Object) { p.configMap = o })
	add(secrets, func(n identity.ObjectNames) string { return n.Secret }, func(p *parts, o metav1.Object) { p.secret = o })
	add(cronJobs, func(n identity.ObjectNames) string { return n.CronJob }, func(p *parts, o metav1.Object) { p.cronJob = o })
	return out
}

// allParts reads the metadata of all pipelines' objects.
func (c *Client) allParts(ctx context.Context) (map[string]*parts, error) {
	clients := []resourceClient{c.configMaps(), c.secrets(), c.cronJobs()}
	lists := make([][]metav1.Object, len(clients))
	unknown := false
	for i, client := range clients {
		var err error
		lists[i], err = client.listMetadata(ctx, deployedLabels)
		if client.kind == kindSecret && apierrors.IsForbidden(err) {
			unknown = true
			continue
		}
		if err != nil {
			return nil, c.failed("list the "+client.kind+"s of pipelines", err)
		}
	}
	out := assemble(lists[0], lists[1], lists[2])
	for _, p := range out {
		p.secretUnknown = unknown
	}
	return out, nil
}

// listMetadata is a list of the objects without their content: Secrets can be many, and large.
func (r resourceClient) listMetadata(ctx context.Context, selector string) ([]metav1.Object, error) {
	const page = 500
	options := metav1.ListOptions{LabelSelector: selector, Limit: page}
	if r.kind == kindSecret {
		options.FieldSelector = "type=Opaque" // No earlier configurations.
	}
	var out []metav1.Object
	for {
		var data []byte
		err := r.retried(ctx, func() (err error) {
			data, err = r.rest.Get().Namespace(r.namespace).Resource(r.resource).VersionedParams(&options, scheme.ParameterCodec).
				SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json").Do(ctx).Raw()
			return err
		})
		if err != nil {
			return nil, err
		}
		var list metav1.PartialObjectMetadataList
		if err := json.Unmarshal(data, &list); err != nil {
			return nil, fmt.Errorf("read the list of %ss: %w", r.kind, err)
		}
		for i := range list.Items {
			out = append(out, &list.Items[i])
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return out, nil
		}
	}
}

// partsOf reads one pipeline's objects.
func (c *Client) partsOf(ctx context.Context, fqn string, names identity.ObjectNames) (*parts, error) {
	out := &parts{fqn: fqn, names: names}
	for _, target := range []struct {
		client resourceClient
		name   string
		set    *metav1.Object
	}{{c.configMaps(), names.ConfigMap, &out.configMap}, {c.secrets(), names.Secret, &out.secret}, {c.cronJobs(), names.CronJob, &out.cronJob}} {
		found, err := target.client.get(ctx, target.name)
		switch {
		case err == nil && owned(found, fqn):
			*target.set = found
		case target.client.kind == kindSecret && apierrors.IsForbidden(err):
			out.secretUnknown = true
		case err != nil && !apierrors.IsNotFound(err):
			return nil, c.failed(fmt.Sprintf("read %s %s", target.client.kind, target.name), err)
		}
	}
	return out, nil
}

// checkRunnable refuses a run that could not start.
func (p *parts) checkRunnable() error {
	switch problem := p.problem(); problem {
	case incompleteConfigMap, incompleteDelete, incompleteSecret:
		return fmt.Errorf("%w: %s: %s; deploy it again, or delete it", ErrIncomplete, p.fqn, problem)
	default:
		return nil
	}
}

// checkComplete is a health check: pipelines of which a deploy or a delete was cut off.
func (c *Client) checkComplete(ctx context.Context) Check {
	const name = "pipelines"
	all, err := c.allParts(ctx)
	if err != nil {
		return Check{name, CheckWarning, "cannot be listed: " + err.Error(), "see the permissions"}
	}
	var found []string
	for _, fqn := range slices.Sorted(maps.Keys(all)) {
		if problem := all[fqn].problem(); problem != "" {
			found = append(found, fqn+": "+problem)
		}
	}
	if len(found) == 0 {
		return Check{Name: name, State: CheckOK, Detail: fmt.Sprintf("%d deployed", len(all))}
	}
	const most = 5
	detail := fmt.Sprintf("%d of %d incomplete: %s", len(found), len(all), strings.Join(found[:min(most, len(found))], "; "))
	if len(found) > most {
		detail += fmt.Sprintf("; and %d more", len(found)-most)
	}
	return Check{name, CheckWarning, detail, "deploy them again, or delete them; pipelinectl list shows them all"}
}

// addIncomplete says of each pipeline whether it is incomplete, and adds those that have no ConfigMap any more.
func addIncomplete(byFQN map[string]*PipelineSummary, all map[string]*parts) {
	for fqn, p := range all {
		problem := p.problem()
		summary := byFQN[fqn]
		if problem != "" && summary == nil {
			of := cmp.Or(p.secret, p.cronJob)
			if p.configMap != nil {
				of, problem = p.configMap, "its ConfigMap cannot be read"
			}
			summary = &PipelineSummary{FQN: fqn, Type: typeOf(of), Deployed: of.GetCreationTimestamp().Time, Revision: revisionOf(of)}
			byFQN[fqn] = summary
		}
		if summary != nil {
			summary.Incomplete = problem
		}
	}
}

// typeOf is a pipeline's type by an object's label.
func typeOf(o metav1.Object) omapi.PipelineType {
	label := o.GetLabels()[identity.LabelPipelineType]
	for _, known := range []omapi.PipelineType{omapi.PipelineAutoClassification, omapi.PipelineTestSuite, omapi.PipelineDataInsight, omapi.PipelineElasticSearchReindex} {
		if strings.EqualFold(string(known), label) {
			return known
		}
	}
	return omapi.PipelineType(label)
}

func metadataOf(objects []object) []metav1.Object {
	out := make([]metav1.Object, len(objects))
	for i, o := range objects {
		out[i] = o
	}
	return out
}
