package k8sclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

// Repairer finishes or removes what deploys and deletes that were cut off have left. It acts on what it has seen unchanged for
// some time, as a deploy may be under way; it keeps no state but that.
type Repairer struct {
	client *Client
	log    *slog.Logger
	// after is how long a pipeline is left alone.
	after time.Duration
	seen  map[string]sighting
}

// sighting is since when a pipeline has been seen as it is.
type sighting struct {
	signature string
	since     time.Time
	// told says that its problem was logged, and cannot be repaired here.
	told bool
}

// NewRepairer makes one that leaves a pipeline alone for so long.
func (c *Client) NewRepairer(log *slog.Logger, after time.Duration) *Repairer {
	return &Repairer{client: c, log: log, after: after, seen: map[string]sighting{}}
}

// Run looks at intervals, until the context ends.
func (r *Repairer) Run(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := r.Look(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("incomplete pipelines are not looked for", "error", err)
			if IsNotAllowed(err) {
				return
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Look finds the pipelines that are incomplete, and repairs those that have been so for long enough.
func (r *Repairer) Look(ctx context.Context) error {
	all, err := r.client.allParts(ctx)
	if err != nil {
		return err
	}
	maps.DeleteFunc(r.seen, func(fqn string, _ sighting) bool { return all[fqn] == nil || all[fqn].problem() == "" })
	for _, fqn := range slices.Sorted(maps.Keys(all)) {
		p := all[fqn]
		problem := p.problem()
		if problem == "" {
			continue
		}
		known, ok := r.seen[fqn]
		if signature := problem + " " + p.signature(); !ok || known.signature != signature {
			known = sighting{signature: signature, since: time.Now()}
		}
		if !known.told && time.Since(known.since) >= r.after {
			known.told = r.repair(ctx, fqn, p, problem)
			known.since = time.Now()
		}
		r.seen[fqn] = known
	}
	return nil
}

// errNotHere is what can only be repaired by a deploy.
var errNotHere = errors.New("it is left as it is; deploy the pipeline again, or delete it")

// repair says whether no more is to be tried.
func (r *Repairer) repair(ctx context.Context, fqn string, p *parts, problem string) (given bool) {
	ctx, cancel := context.WithTimeout(ctx, deployTimeout)
	defer cancel()
	log := r.log.With("pipeline", fqn, "problem", problem)
	done, err := r.client.repair(ctx, p.names, fqn, p)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, errNotHere):
		log.Warn("a pipeline is incomplete", "error", err)
		return true
	case apierrors.IsConflict(err), apierrors.IsNotFound(err): // Somebody is at work on it.
	case err != nil:
		log.Warn("an incomplete pipeline could not be repaired", "error", err)
	case done != "":
		log.Info("an incomplete pipeline was repaired", "done", done)
	}
	return false
}

// repair finishes or removes what is left of a pipeline, where it is still as it was seen. It says what it did.
func (c *Client) repair(ctx context.Context, names identity.ObjectNames, fqn string, seen *parts) (done string, err error) {
	unlock, err := c.locks.lock(ctx, names.ConfigMap)
	if err != nil {
		return "", err
	}
	defer unlock()
	p, err := c.partsOf(ctx, fqn, names)
	if err != nil || p.signature() != seen.signature() {
		return "", err
	}
	switch p.problem() {
	case incompleteConfigMap:
		return "removed what was left of it", c.removeLeft(ctx, p)
	case incompleteDelete:
		if p.configMap.GetAnnotations()[identity.AnnotationDeleteRequested] == "" {
			return "", nil // It goes by itself.
		}
		_, err := c.Delete(ctx, fqn, DeleteOptions{})
		return "deleted it", err
	case incompleteSecret:
		return "removed its ConfigMap", c.removeFirst(ctx, p)
	case incompleteLater:
		return "removed the secret values of the deploy that was not finished", c.forgetLater(ctx, p)
	case incompleteUnwanted:
		return "deleted its CronJob", c.removeCronJob(ctx, p)
	case incompleteNoCronJob, incompleteCronJob:
		return "applied its CronJob", c.finishSchedule(ctx, p)
	default:
		return "", nil
	}
}

// removeLeft removes what can start no run, as there is no ConfigMap. Runs that go on are left alone.
func (c *Client) removeLeft(ctx context.Context, p *parts) error {
	if err := c.removeCronJob(ctx, p); err != nil {
		return err
	}
	secrets, err := c.secrets().list(ctx, pipelineSelector(p.names))
	if err != nil {
		return c.failed("list the Secrets of pipeline "+p.fqn, err)
	}
	for _, secret := range secrets {
		if !owned(secret, p.fqn) || secret.GetLabels()[identity.LabelRunID] != "" {
			continue
		}
		if err := c.secrets().delete(ctx, secret.GetName(), metav1.DeletePropagationBackground, asRead(secret)); err != nil && !apierrors.IsNotFound(err) {
			return c.failed("delete Secret "+secret.GetName(), err)
		}
	}
	return nil
}

// removeCronJob leaves its runs.
func (c *Client) removeCronJob(ctx context.Context, p *parts) error {
	cronJob, ok := p.cronJob.(object)
	if !ok || cronJob.GetDeletionTimestamp() != nil {
		return nil
	}
	err := c.cronJobs().delete(ctx, cronJob.GetName(), metav1.DeletePropagationOrphan, thisOne(cronJob))
	if err != nil && !apierrors.IsNotFound(err) {
		return c.failed("delete CronJob "+cronJob.GetName(), err)
	}
	return nil
}

// removeFirst removes the ConfigMap of a first deploy that has come no further. Who has removed the Secret of a pipeline that
// was deployed may want it back.
func (c *Client) removeFirst(ctx context.Context, p *parts) error {
	configMap, ok := p.configMap.(object)
	if !ok || revisionOf(configMap) != 1 || p.cronJob != nil {
		return errNotHere
	}
	jobs, err := c.jobs(ctx, p.fqn, p.names)
	if err != nil {
		return err
	}
	if len(jobs) > 0 {
		return errNotHere
	}
	if err := c.configMaps().delete(ctx, configMap.GetName(), metav1.DeletePropagationBackground, asRead(configMap)); err != nil {
		return c.failed("delete ConfigMap "+configMap.GetName(), err)
	}
	return nil
}

// forgetLater makes the Secret that of the configuration in force.
func (c *Client) forgetLater(ctx context.Context, p *parts) error {
	public, _ := p.configMap.(*corev1.ConfigMap)
	secret, _ := p.secret.(*corev1.Secret)
	overlay, whole := overlayInForce(public, secret)
	if !whole {
		return errNotHere
	}
	err := c.secrets().merge(ctx, secret.Name, map[string]any{
		fieldMetadata: map[string]any{
			fieldUID: secret.UID, fieldResourceVersion: secret.ResourceVersion,
			fieldAnnotations: map[string]string{identity.AnnotationDeploy: public.Annotations[identity.AnnotationDeploy]},
		},
		"data": map[string]any{secretKey: overlay, previousKey: nil},
	})
	if err != nil {
		return c.failed("update Secret "+secret.Name, err)
	}
	return nil
}

// finishSchedule applies the CronJob that belongs to the ConfigMap, where the parameters make the same as those of the deploy.
func (c *Client) finishSchedule(ctx context.Context, p *parts) error {
	public, _ := p.configMap.(*corev1.ConfigMap)
	cronJob, err := c.cronJobOf(ctx, public, p.names)
	if err != nil {
		return err
	}
	if hash, err := scheduleHash(cronJob); err != nil || cronJob == nil || hash != public.Annotations[identity.AnnotationSchedule] {
		return fmt.Errorf("the parameters are not those of the deploy: %w", errNotHere)
	}
	if err := c.useVariables(cronJob, p); err != nil {
		return err
	}
	cronJob.Annotations[identity.AnnotationDeploy] = public.Annotations[identity.AnnotationDeploy]
	cronJob.OwnerReferences = []metav1.OwnerReference{*ownedBy(public)}
	pipeline, err := pipelineOf(public)
	if err != nil {
		return err
	}
	version, active, held := "", enabled(pipeline), false
	if was, ok := p.cronJob.(*batchv1.CronJob); ok {
		if was.DeletionTimestamp != nil {
			return nil // It will be gone at the next look.
		}
		if !isUnfinished(was) {
			active, held = inForce(was), isHeld(was, windowOf(cronJob))
		}
		version = was.ResourceVersion
	}
	w, now := windowOf(cronJob), time.Now()
	cronJob.Spec.Suspend = new(!active || w.future(now) && !held || w.ended(now))
	patch, err := applyPatch(cronJob, version)
	if err != nil {
		return fmt.Errorf("encode CronJob %s: %w", cronJob.Name, err)
	}
	after, _, err := c.cronJobs().apply(ctx, managerOf(p.fqn), cronJob.Name, patch, true, false)
	if err != nil {
		return c.failed("apply CronJob "+cronJob.Name, err)
	}
	applied, _ := after.(*batchv1.CronJob)
	return c.hold(ctx, applied, active)
}

// useVariables makes a CronJob's runs read the variables that are in the pipeline's Secret.
func (c *Client) useVariables(cronJob *batchv1.CronJob, p *parts) error {
	if p.secret == nil {
		return nil
	}
	secret, _ := p.secret.(*corev1.Secret)
	keys, missing := findVariables(secretVariables(&c.config), secret.Data)
	if len(missing) > 0 {
		return fmt.Errorf("the variables are not those of the deploy: %w", errNotHere)
	}
	keys.use(&cronJob.Spec.JobTemplate.Spec, secret.Name)
	return nil
}

// cronJobOf makes the CronJob of a deployed pipeline; nil for one on demand.
func (c *Client) cronJobOf(ctx context.Context, public *corev1.ConfigMap, names identity.ObjectNames) (*batchv1.CronJob, error) {
	pipeline, err := pipelineOf(public)
	if err != nil {
		return nil, err
	}
	when, err := parseSchedule(pipeline)
	if err != nil || when == nil {
		return nil, err
	}
	config, err := c.settled(ctx)
	if err != nil {
		return nil, err
	}
	preferred := identity.NamesOf(pipeline.Name, pipeline.FQN())
	return renamedCronJob(newCronJob(config, pipeline, preferred, when), preferred, names), nil
}

// RepairPermissions are what a Repairer does to the cluster's objects, such as "patch secrets".
func RepairPermissions() []string {
	var out []string
	for resource, verbs := range map[string][]string{
		resourceConfigMaps: {verbGet, verbList, verbDelete}, resourceSecrets: {verbGet, verbList, verbPatch, verbDelete},
		"cronjobs batch": {verbGet, verbList, verbCreate, verbPatch, verbDelete}, "jobs batch": {verbGet, verbList, verbPatch, verbDelete}, "cronjobs/status batch": {verbPatch}, resourcePods: {verbList},
	} {
		for _, verb := range verbs {
			out = append(out, verb+" "+resource)
		}
	}
	slices.Sort(out)
	return out
}
