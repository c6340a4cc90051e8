package workflow

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNames(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		secret string
		public string
	}{
		"Variables": {
			reason: "names of variables have separators",
			secret: "AWS_SECRET_ACCESS_KEY DJANGO_SECRET_KEY SSH_PRIVATE_KEY DB_PASSWORD api-key DB_PWD GITHUB_PAT PAT DB_PASS SMTP_PASS PGPASSWORD MYSQL_PWD " +
				"SNOWFLAKE_CREDENTIALS APP_SECRETS KRB5_KEYTAB_B64 KEYTAB_BASE64 VAULT_SECRET_ID AWS_ACCESS_KEY_ID DD_API_KEY DD_APP_KEY DB_PASSWORD_2 API_TOKENS " +
				"DATABRICKS_TOKEN_PROD NPM_TOKEN JWT_KEY SESSION_COOKIE AZURE_STORAGE_CONNECTION_STRING LDAP_BIND_PW REDIS_AUTH ENCRYPTION_KEY MASTER_KEY SASL_JAAS_CONFIG DB_PSWD AZURE_FUNCTION_KEY",
			public: "TOKEN_URI KEYBOARD AWS_REGION PATH COMPAT CLASSPATH DB_PASSWORD_FILE TOKEN_TTL SECRET_NAME COMPASS_URL BYPASS SSL_KEY_PATH PASSWORD_POLICY " +
				"KEY MONKEY HTTP_PROXY NO_PROXY TZ PYTHONPATH VAULT_TOKEN_PATH PUBLIC_KEY_FILE KEYTAB_PATH",
		},
		"Fields": {
			reason: "names of OpenMetadata's schemas, and of what they are near to",
			secret: "sslKey accountKey sharedKey encryptionKey privateKeyPassphrase snowflakePrivatekeyPassphrase jwtToken awsSessionToken clientSecret authorization " +
				"slackWebhook webhookUrl githubPat dbPwd sasToken connectionString awsAccessKeyId jwt authString basicAuthUserInfo proxyAuthentication caCertificate " +
				"idpX509Certificate spX509Certificate credentials JWTToken personalAccessTokenSecret userToken tokens apiKeys passwords clientSecrets dbpassword " +
				"authtoken clientsecret accesskey privatekey secretAccessKey pat pass keyStorePassword storepass authorizationHeader sharedAccessSignature accessKeySecret tokenValue",
			public: "privateKeyId keyPath sslMode sslCA caCertificatePath primaryKey partitionKey sortKey keyColumns clusterKey foreignKey keyspace tokenEndpoint format path " +
				"httpPath authProvider sourcePythonClass databases stageFileLocation includeTags includeTokens excludeTokens maxTokens secretsManagerProvider secretsManagerLoader tokenUri " +
				"tokenUrl tokenType passwordless passwordPolicy key keys filter clientId username authType credentialsProvider secretScope tokenizer tokenEndpointAuthMethod " +
				"passThrough compressionKeyType keyFormat authorityUri passwordColumn sasConnection jwtAudience classKey joinKey",
		},
		"Dotted": {
			reason: "properties of Spark, Hadoop and Kafka; after some stands the name of an account, which may be any word",
			secret: "spark.hadoop.fs.s3a.secret.key spark.hadoop.fs.s3a.access.key fs.azure.account.key.acc.dfs.core.windows.net fs.azure.account.key.name.blob.core.windows.net " +
				"client.secret.acc spark.hadoop.google.cloud.auth.service.account.private.key fs.azure.account.oauth2.client.secret.path.dfs.core.windows.net " +
				"spark.sql.catalog.x.jdbc.password sasl.jaas.config spark.es.net.http.auth.pass fs.azure.sas.container.account fs.azure.sas.fixed.token.acc " +
				"kafka.basic.auth.user.info ssl.keystore.password fs.s3a.session.token spark.redis.auth fs.s3a.bucket.name.secret.key fs.s3a.server-side-encryption.key sfPassword",
			public: "spark.hadoop.fs.s3a.aws.credentials.provider fs.s3a.endpoint spark.executor.memory google.cloud.auth.service.account.private.key.id " +
				"fs.azure.account.oauth.provider.type.acc ssl.keystore.location key.serializer key.deserializer partition.key spark.sql.shuffle.partitions sasl.mechanism " +
				"security.protocol fs.azure.account.oauth2.client.id.acc fs.azure.account.auth.type.acc fs.azure.account.oauth2.client.endpoint.acc",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for key := range strings.FieldsSeq(tc.secret) {
				assert.NotEmpty(t, Rules{}.Variable(key, "value"), "%s: %s", key, tc.reason)
			}
			for key := range strings.FieldsSeq(tc.public) {
				assert.Empty(t, Rules{}.Variable(key, "value"), "%s: %s", key, tc.reason)
			}
		})
	}
}

// TestPaths: what is often in a file is named as its path is.
func TestPaths(t *testing.T) {
	t.Parallel()
	for name, secret := range map[string]bool{"GOOGLE_APPLICATION_CREDENTIALS": false, "KRB_KEYTAB": false, "SSH_PRIVATE_KEY": false, "DB_PASSWORD": true, "API_TOKEN": true, "sslKey": true} {
		assert.Equal(t, secret, Rules{}.Variable(name, "/etc/secrets/file.json") != "", name)
		assert.NotEmpty(t, Rules{}.Variable(name, "/9j4AAQSkZJRg"), "%s: base64 may begin with a slash", name)
	}
	assert.Empty(t, Rules{}.Variable("PWD", "/home/me"))
	assert.Empty(t, Rules{}.Variable("OLDPWD", "/home/me"))
}

// TestLogins: a user and a password together, where the name says what they are for.
func TestLogins(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"auth", "basicAuth", "http.auth", "userInfo", "LOGIN"} {
		assert.NotEmpty(t, Rules{}.Variable(name, "me:pw"), name)
		assert.Empty(t, Rules{}.Variable(name, "basic"), name)
	}
	assert.Empty(t, Rules{}.Variable("host", "h:3306"))
}
