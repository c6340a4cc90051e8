package openmetadata

// Names that are used in many places.
const (
	fieldName      = "name"
	fieldStatus    = "status"
	fieldTimestamp = "timestamp"
	fieldVersion   = "version"
	fieldService   = "service"
	fieldDatabase  = "database"
	fieldSchema    = "databaseSchema"

	headerContentType = "Content-Type"
	// headerChange says what a write did; header names are compared without their case.
	headerChange = "X-Openmetadata-Change"
)
