package k8sclient

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pipelinectl/pipelinectl/pkg/identity"
)

// annotate says on a CronJob when its schedule is in force.
func (w window) annotate(annotations map[string]string) {
	for name, date := range map[string]time.Time{identity.AnnotationNotBefore: w.from, identity.AnnotationNotAfter: w.to} {
		if !date.IsZero() {
			annotations[name] = date.UTC().Format(time.RFC3339Nano)
		}
	}
}

// windowOf is what annotate said.
func windowOf(cronJob *batchv1.CronJob) window {
	read := func(name string) time.Time {
		date, err := time.Parse(time.RFC3339, cronJob.Annotations[name])
		if err != nil {
			return time.Time{}
		}
		return date
	}
	return window{from: read(identity.AnnotationNotBefore), to: read(identity.AnnotationNotAfter)}
}

// waitsFrom is the status by which the CronJob controller waits for the start of a schedule: it looks for ticks after the last
// one that was scheduled, so that one in the future holds all before it. It needs nobody to release the schedule, and makes no
// pod. (mostRecentScheduleTime in k8s.io/kubernetes/pkg/controller/cronjob; measured on 1.37.2.)
func (w window) waitsFrom() time.Time {
	second := w.from.Truncate(time.Second)
	if second.Before(w.from) {
		second = second.Add(time.Second)
	}
	return second.Add(-time.Second)
}

// isHeld says that the controller waits for the start of the schedule.
func isHeld(cronJob *batchv1.CronJob, w window) bool {
	last := cronJob.Status.LastScheduleTime
	return last != nil && last.Time.Equal(w.waitsFrom())
}

// hold makes the controller wait for the start of a schedule, or no more, and then puts an active schedule in force, which was
// made suspended when its start is in the future.
func (c *Client) hold(ctx context.Context, cronJob *batchv1.CronJob, active bool) error {
	w, now := windowOf(cronJob), time.Now()
	last := cronJob.Status.LastScheduleTime
	var until time.Time
	switch {
	case w.future(now) && !isHeld(cronJob, w):
		until = w.waitsFrom()
	case !w.future(now) && last != nil && last.After(now.Add(time.Minute)):
		until = now // It was held until a later start.
	}
	if !until.IsZero() {
		err := c.patchCronJob(ctx, cronJob.Name, map[string]any{"status": map[string]any{"lastScheduleTime": metav1.NewTime(until)}}, "status")
		if err != nil {
			return c.failed("write the status of CronJob "+cronJob.Name, err)
		}
	}
	if active && suspended(cronJob) && !w.ended(now) {
		if err := c.patchCronJob(ctx, cronJob.Name, map[string]any{"spec": map[string]any{"suspend": false}}); err != nil {
			return c.failed("enable CronJob "+cronJob.Name, err)
		}
	}
	return nil
}

func (c *Client) patchCronJob(ctx context.Context, name string, change map[string]any, subresources ...string) error {
	patch, err := json.Marshal(change)
	if err != nil {
		return fmt.Errorf("encode the patch of CronJob %s: %w", name, err)
	}
	_, err = c.kube.BatchV1().CronJobs(c.config.Namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager}, subresources...)
	return err
}
