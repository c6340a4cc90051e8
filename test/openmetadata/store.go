package openmetadata

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// firstVersion is the version of a new entity; each change adds as much again.
const firstVersion = 0.1

// entity is a stored entity. Its document is never changed in place, so that it can be read without the lock.
type entity struct {
	kind   *kind
	id     string
	fqn    string
	parent string // id of the parent, empty without
	doc    map[string]any
}

func (e *entity) deleted() bool {
	deleted, _ := e.doc["deleted"].(bool)
	return deleted
}

func (e *entity) name() string {
	name, _ := e.doc[fieldName].(string)
	return name
}

// reference is how other entities' documents name this one.
func (e *entity) reference() map[string]any {
	return map[string]any{
		"id": e.id, "type": e.kind.entity, fieldName: e.name(), "fullyQualifiedName": e.fqn, "deleted": e.deleted(),
	}
}

// etag changes with every change of the entity.
func (e *entity) etag() string {
	return fmt.Sprintf(`"%v-%v"`, e.doc[fieldVersion], e.doc["updatedAt"])
}

// store holds the entities of all kinds.
type store struct {
	mu  sync.Mutex
	now func() time.Time
	ids map[string]*entity
}

func newStore(now func() time.Time) *store { return &store{now: now, ids: map[string]*entity{}} }

func (s *store) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = map[string]*entity{}
}

// filter says which entities a read sees with regard to soft deletion.
type filter string

const (
	includeNonDeleted filter = "non-deleted"
	includeDeleted    filter = "deleted"
	includeAll        filter = "all"
)

func (f filter) sees(e *entity) bool {
	switch f {
	case includeAll:
		return true
	case includeDeleted:
		return e.deleted()
	case includeNonDeleted:
	}
	return !e.deleted()
}

func (s *store) byID(k *kind, id string, include filter) (*entity, error) {
	if _, err := uuid.Parse(id); err != nil {
		return nil, errNoRoute()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.ids[strings.ToLower(id)]; e != nil && e.kind == k && include.sees(e) {
		return e, nil
	}
	return nil, notFound(k.entity, id)
}

// byType finds an entity that is not deleted by its type's name.
func (s *store) byType(entityType, id string) (*entity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.ids[strings.ToLower(id)]; e != nil && e.kind.entity == entityType && !e.deleted() {
		return e, nil
	}
	return nil, notFound(entityType, id)
}

func (s *store) byFQN(k *kind, fqn string, include filter) (*entity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.find(k.entity, fqn); e != nil && include.sees(e) {
		return e, nil
	}
	return nil, notFound(k.entity, fqn)
}

// find needs the lock.
func (s *store) find(entityType, fqn string) *entity {
	for _, e := range s.ids {
		if e.fqn == fqn && e.kind.entity == entityType {
			return e
		}
	}
	return nil
}

// list returns the entities of a kind below a parent (by fully qualified name, empty: all), ordered by name.
func (s *store) list(k *kind, parent string, include filter) []*entity {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*entity
	for _, e := range s.ids {
		if e.kind == k && include.sees(e) && s.isBelow(e, parent) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b *entity) int { return strings.Compare(a.fqn, b.fqn) })
	return out
}

// isBelow needs the lock.
func (s *store) isBelow(e *entity, ancestor string) bool {
	if ancestor == "" {
		return true
	}
	for up := s.ids[e.parent]; up != nil; up = s.ids[up.parent] {
		if up.fqn == ancestor {
			return true
		}
	}
	return false
}

// put stores the entity that a create request describes. With replace an existing one is replaced (and restored if it
// was soft-deleted); without, it is an error. created says which it was.
func (s *store) put(k *kind, request map[string]any, user string, replace bool) (stored *entity, created bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	parent, err := s.parentOf(k, request)
	if err != nil {
		return nil, false, err
	}
	e := &entity{kind: k, id: uuid.NewString()}
	parentFQN := ""
	if parent != nil {
		e.parent, parentFQN = parent.id, parent.fqn
	}
	name, _ := request[fieldName].(string)
	if e.fqn, err = joinFQN(parentFQN, name); err != nil {
		return nil, false, err
	}
	e.doc = s.document(e, parent, request)
	old := s.find(k.entity, e.fqn)
	if old != nil {
		if !replace {
			return nil, false, errExists()
		}
		e.id = old.id
		e.doc["id"] = old.id
		for _, kept := range []string{"deployed", "enabled"} {
			if value, has := old.doc[kept]; has {
				e.doc[kept] = value
			}
		}
	}
	s.stamp(e, old, user)
	s.ids[e.id] = e
	return e, old == nil, nil
}

// parentOf needs the lock.
func (s *store) parentOf(k *kind, request map[string]any) (*entity, error) {
	if k.parentField == "" {
		return nil, nil //nolint:nilnil // a kind without parents
	}
	if k.byReference {
		reference, _ := request[k.parentField].(map[string]any)
		id, _ := reference["id"].(string)
		entityType, _ := reference["type"].(string)
		if id == "" {
			return nil, badRequest("[query param %s must not be null]", k.parentField)
		}
		parent := s.ids[id]
		if parent == nil || parent.kind.entity != entityType || !slices.Contains(k.parents, entityType) {
			return nil, notFound(entityType, id)
		}
		return parent, nil
	}
	fqn, _ := request[k.parentField].(string)
	if fqn == "" {
		return nil, badRequest("[query param %s must not be null]", k.parentField)
	}
	for _, entityType := range k.parents {
		if parent := s.find(entityType, fqn); parent != nil {
			return parent, nil
		}
	}
	return nil, notFound(k.parents[0], fqn)
}

// document builds an entity's document from its create request: what a request leaves out is not there.
func (s *store) document(e *entity, parent *entity, request map[string]any) map[string]any {
	doc := map[string]any{}
	for field, value := range request {
		if value != nil {
			doc[field] = value
		}
	}
	doc["id"], doc["fullyQualifiedName"], doc["deleted"] = e.id, e.fqn, false
	if parent != nil {
		// The references to all ancestors are in the document, as is the type of the service.
		for _, inherited := range []string{fieldService, "serviceType", fieldDatabase, fieldSchema} {
			if value, has := parent.doc[inherited]; has && e.kind.entity != typePipeline {
				doc[inherited] = value
			}
		}
		doc[e.kind.parentField] = parent.reference()
	}
	switch e.kind.entity {
	case typePipeline:
		if _, has := doc["enabled"]; !has {
			doc["enabled"] = true
		}
		if _, has := doc["deployed"]; !has {
			doc["deployed"] = false
		}
	case typeTable:
		nameColumns(e.fqn, doc["columns"])
	}
	return doc
}

// nameColumns gives each column, and each child of one, its fully qualified name.
func nameColumns(parent string, columns any) {
	list, _ := columns.([]any)
	for _, item := range list {
		column, ok := item.(map[string]any)
		if !ok {
			continue
		}
		name, _ := column[fieldName].(string)
		fqn, err := joinFQN(parent, name)
		if err != nil {
			continue
		}
		column["fullyQualifiedName"] = fqn
		nameColumns(fqn, column["children"])
	}
}

// stamp sets version and time of change; an entity that did not change keeps both.
func (s *store) stamp(e, old *entity, user string) {
	if old == nil {
		e.doc[fieldVersion] = firstVersion
	} else {
		bookkeeping := []string{fieldVersion, "updatedAt", "updatedBy"}
		before, after := maps.Clone(old.doc), maps.Clone(e.doc)
		for _, field := range bookkeeping {
			delete(before, field)
			delete(after, field)
		}
		version, _ := old.doc[fieldVersion].(float64)
		if reflect.DeepEqual(before, after) {
			for _, field := range bookkeeping {
				e.doc[field] = old.doc[field]
			}
			return
		}
		const tenth = 10
		e.doc[fieldVersion] = math.Round((version+firstVersion)*tenth) / tenth
	}
	e.doc["updatedAt"] = s.now().UnixMilli()
	e.doc["updatedBy"] = user
}

// change replaces the document of an entity by what edit makes of a copy.
func (s *store) change(id, user string, edit func(old *entity, doc map[string]any) error) (*entity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.ids[id]
	if old == nil {
		return nil, notFound("entity", id)
	}
	changed := *old
	changed.doc = maps.Clone(old.doc)
	if err := edit(old, changed.doc); err != nil {
		return nil, err
	}
	s.stamp(&changed, old, user)
	s.ids[id] = &changed
	return &changed, nil
}

// remove deletes an entity and, when recursive, all below it. It returns every entity that is gone, the named one first.
func (s *store) remove(k *kind, id, user string, recursive, hard bool) ([]*entity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	target := s.ids[id]
	if target == nil || target.kind != k || (target.deleted() && !hard) {
		return nil, notFound(k.entity, id)
	}
	below := s.below(id)
	if len(below) > 0 && !recursive {
		return nil, badRequest("%s is not empty", k.entity)
	}
	gone := append([]*entity{target}, below...)
	for i, e := range gone {
		deleted := *e
		deleted.doc = maps.Clone(e.doc)
		deleted.doc["deleted"] = true
		s.stamp(&deleted, e, user)
		gone[i] = &deleted
		if hard {
			delete(s.ids, e.id)
		} else {
			s.ids[e.id] = &deleted
		}
	}
	return gone, nil
}

// below needs the lock.
func (s *store) below(id string) []*entity {
	var out []*entity
	for _, e := range s.ids {
		if e.parent == id {
			out = append(append(out, e), s.below(e.id)...)
		}
	}
	return out
}
