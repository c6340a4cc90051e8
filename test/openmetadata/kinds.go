package openmetadata

// kind describes one collection of entities.
type kind struct {
	path   string // below apiPrefix
	entity string // the entity type as references and messages name it

	// parentField is the field that names the parent; empty for kinds that stand alone.
	parentField string
	// byReference: parentField holds {id, type}; else the parent's fully qualified name.
	byReference bool
	// parents are the entity types that parentField may name.
	parents []string

	// known lists the fields of a create request; nil takes any.
	known []string
	// patchable lists the fields that a patch may change; nil takes any.
	patchable []string
}

const (
	typePipeline = "ingestionPipeline"
	typeTable    = "table"
)

// serviceKinds maps collections of services to their entity types.
func serviceKinds() map[string]string {
	return map[string]string{
		"databaseServices":  "databaseService",
		"dashboardServices": "dashboardService",
		"messagingServices": "messagingService",
		"pipelineServices":  "pipelineService",
		"mlmodelServices":   "mlmodelService",
		"storageServices":   "storageService",
		"searchServices":    "searchService",
		"metadataServices":  "metadataService",
		"apiServices":       "apiService",
		"driveServices":     "driveService",
		"securityServices":  "securityService",
	}
}

// kinds lists all collections that the stand-in keeps.
func kinds() []*kind {
	byPath := serviceKinds()
	all, services := make([]*kind, 0, len(byPath)), make([]string, 0, len(byPath))
	for path, entity := range byPath {
		all = append(all, &kind{path: "services/" + path, entity: entity})
		services = append(services, entity)
	}
	suites := &kind{path: "dataQuality/testSuites", entity: "testSuite"}
	services = append(services, suites.entity)
	return append(all,
		suites,
		&kind{
			path: "services/ingestionPipelines", entity: typePipeline,
			parentField: fieldService, byReference: true, parents: services,
			known: []string{
				fieldName, "displayName", "description", "pipelineType", "sourceConfig", "airflowConfig", "loggerLevel",
				"raiseOnError", fieldService, "owners", "provider", "domains", "processingEngine", "enableStreamableLogs",
				"ingestionRunner", "tags", "extension",
			},
			patchable: []string{
				"displayName", "description", "sourceConfig", "airflowConfig", "loggerLevel", "enabled", "deployed",
				"raiseOnError", "enableStreamableLogs", "processingEngine", "owners", "domains", "tags",
			},
		},
		&kind{path: "classifications", entity: "classification"},
		&kind{path: "tags", entity: "tag", parentField: "classification", parents: []string{"classification"}},
		&kind{path: "databases", entity: fieldDatabase, parentField: fieldService, parents: []string{"databaseService"}},
		&kind{path: "databaseSchemas", entity: fieldSchema, parentField: fieldDatabase, parents: []string{fieldDatabase}},
		&kind{path: "tables", entity: typeTable, parentField: fieldSchema, parents: []string{fieldSchema}},
		&kind{path: "storedProcedures", entity: "storedProcedure", parentField: fieldSchema, parents: []string{fieldSchema}},
	)
}
