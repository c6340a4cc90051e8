package workflow

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// joined makes a text of parts, so that no scanner takes this file for one with secrets in it.
func joined(parts ...string) string { return strings.Join(parts, "") }

func TestTexts(t *testing.T) {
	t.Parallel()
	const mixed = "a1B2c3D4e5F6a7B8c9D0e1F2a3B4c5D6"
	const hex = "0123456789abcdef0123456789abcdef"
	cases := map[string]struct {
		reason         string
		secret, public []string
	}{
		"PEM": {
			reason: "a key, and a certificate, which OpenMetadata's schemas mark as a password too",
			secret: []string{
				"-----BEGIN RSA PRIVATE KEY-----\nMIIE", "-----BEGIN CERTIFICATE-----\nMIIE", `key: -----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl`,
				"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----", "PuTTY-User-Key-File-3: ssh-rsa", "-----BEGIN PGP PRIVATE KEY BLOCK-----", "-----BEGIN%20PRIVATE%20KEY-----",
				"MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\nMIIEvQIBADANBg==",
			},
			public: []string{"/etc/ca/ca.pem", "---- beginning of the text ----"},
		},
		"Tokens": {
			reason: "services have prefixes of their own",
			secret: []string{
				joined("AKIA", "IOSFODNN7EXAMPLE"), joined("ASIA", "IOSFODNN7EXAMPLE"), joined("ghp_", mixed), joined("github_pat_", mixed), joined("gho_", mixed), joined("glpat-", mixed),
				joined("xoxb-", "1234-5678-abcdef"), joined("xoxp-", "1234-5678-abcdef"), joined("xoxa-", "1234-5678-abcdef"), joined("AIza", mixed), joined("ya29.", mixed), joined("dapi", hex), joined("sk_live_", mixed),
				joined("npm_", mixed), joined("pypi-", mixed), joined("sk-", mixed), joined("sk-proj-", mixed), joined("sk-ant-api03-", mixed), joined("hvs.", mixed), joined("hf_", mixed), joined("SG.", mixed, ".", mixed),
				joined("dckr_pat_", mixed), joined("NRAK-", mixed), joined("glsa_", mixed), joined("dbtc_", mixed), joined("ver:1-hint:123-", mixed), joined("token is ghp_", mixed, "."), joined("u=ghp_", mixed),
				joined("abc8Q~", mixed, "xy"), joined("AGE-SECRET-KEY-1", mixed),
			},
			public: []string{"sk-learn", "npm_package", "hf_model", "ghp_short", "dapi", "AKIA", "xox", "risk-assessment-of-the-whole-company-in-2024", "mysk-a1B2c3D4e5F6a7B8c9D0e1F2", "dapib"},
		},
		"JWT": {
			reason: "three parts in base64 of which the first is a JSON object",
			secret: []string{"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "x=eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."},
			public: []string{"eyJ", "a.b.c", "eyJustAName.table"},
		},
		"Headers": {
			reason: "what stands after the name of a scheme",
			secret: []string{
				"Bearer eyJhbGciOi", "bearer SENTINEL", "Basic dTpw", "Basic dXNlcjpwYXNzd29yZA==", "Authorization: Bearer abcd", "-H 'Authorization: Basic dXNlcjpwYXNz'",
				`{"Authorization": "Token a1b2c3d4"}`, "-H 'X-Api-Key: abc'", "AWS4-HMAC-SHA256 Credential=x/y", "Token 0123456789abcdef",
			},
			public: []string{"a bearer of news", "Basic authentication", "Bearer token", "basic auth", "token bucket", "the basic metrics of a table", "Bearer"},
		},
		"URLs": {
			reason: "a user, or a parameter that is a secret, in any spelling",
			secret: []string{
				"postgres://me:pw@db/x", "https://ghp_abc@github.com/x.git", "redis://:pw@h:6379/0", "mysql+pymysql://me:p%40w@h/x", "postgres://me:p/w@db/x", "mongodb+srv://me:pw@h/x",
				"https://x.blob.core.windows.net/c?sv=1&sig=abc", "https://x/y?access_token=abc", "https://x/y?limit=1&token=abc", "https://x/y?ACCESS-TOKEN=abc", "https://x/y#access_token=abc",
				"sc://h:15002/;use_ssl=true;token=SENTINEL", "https://x/?X-Amz-Signature=abc", "https://x/?key=a1B2c3D4e5F6a7B8", "https://x/y?a=1&amp;token=abc", `https://x/y?a=1\u0026token=abc`,
				`https:\/\/x\/y?token=abc`, "elastic:pw@h:9200", "me:pw@tcp(h:3306)/x", "url=postgres://me:pw@db/x", "//me:pw@h/x", "https://hooks.slack.com/services/T0/B0/x",
				"https://acme.webhook.office.com/webhookb2/x", "https://discord.com/api/webhooks/1/x", "https%3A%2F%2Fme%3Apw%40h", "http://h?redirect=https%3A%2F%2Fx%3Ftoken%3Dabc",
			},
			public: []string{
				"https://openmetadata.example.com/api", "https://x/y?sort=asc&limit=10", "https://x/y?email=a@b", "mysql.example.com:3306", "abfss://container@acc.dfs.core.windows.net/x",
				"ssh://git@github.com/x.git", "git@github.com:org/x.git", "mailto:me@example.com", "https://h:8443/a@b", "repo/image@sha256:" + hex + hex, "me@example.com", "http://h/?key=name",
				"https://h/?token=", "https://h/?use_token=true", "postgres://{{ user }}:{{ password }}@h/x", "postgres://${USER}:${PASSWORD}@h", "https://h/?token=${TOKEN}", "s3://bucket/key=1/x",
			},
		},
		"Properties": {
			reason: "libpq, JDBC, ODBC, JAAS, options of commands, JSON, YAML and XML in a text",
			secret: []string{
				"DefaultEndpointsProtocol=https;AccountName=a;AccountKey=b", "jdbc:sqlserver://h;databaseName=d;password=pw", "host=h user=u password='p w'", "host=h password = pw", "jdbc:oracle:thin:user/pw@h:1521/x",
				"jdbc:oracle:thin:user/pw@//h/x", "jdbc:mysql://h/x?user=u&password=pw", "Driver={ODBC};UID=sa;PWD=pw;", `org.x.PlainLoginModule required username="x" password="y";`, "--password pw", "cmd --api-token=abc",
				"--conf spark.hadoop.fs.s3a.secret.key=abc", `{"user":"u","password":"pw"}`, `{\"password\":\"pw\"}`, "user: u\npassword: pw\n", "<password>pw</password>", "<property><name>fs.s3a.secret.key</name><value>x</value></property>",
				"machine h login u password p", "CREATE USER u IDENTIFIED BY 'pw'", "fs.azure.account.key.acc.dfs.core.windows.net=abc", `"p%61ssword"="x"`, "scott/tiger@h:1521/x", "export DB_PASSWORD=abc", "PGPASSWORD=abc psql",
				"curl -u me:pw https://h", "sshpass -p pw ssh h", "-Djavax.net.ssl.keyStorePassword=pw",
			},
			public: []string{
				"^(orders|token)$", "signature of the table: x = y", "org.openmetadata.service.clients.pipeline.k8s.K8sPipelineClient.key", "SELECT * FROM t WHERE key = 1", "password=", "token: true", "token: null",
				"(?:token|password)", `(?=token).*`, "use_token=true;retries=3", "tokenUri: https://x", "host=h port=5432 dbname=x sslmode=require", "primaryKey=id", "password=${PASSWORD}", "password: {{ password }}",
				"jdbc:postgresql://h:5432/x?ssl=true", "<name>fs.s3a.endpoint</name><value>x</value>", "C:\\data\\token",
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, text := range tc.secret {
				assert.NotEmpty(t, TextReason(text), "%s: %s", text, tc.reason)
				for how, encoded := range map[string]string{
					"base64": base64.StdEncoding.EncodeToString([]byte(text)), "base64 for URLs": base64.RawURLEncoding.EncodeToString([]byte(text)), "percent": url.QueryEscape(strings.ReplaceAll(text, " ", "\n")),
				} {
					if len(text) >= 16 && how != "percent" {
						assert.NotEmpty(t, TextReason(encoded), "%s in %s", text, how)
					}
				}
			}
			for _, text := range tc.public {
				assert.Empty(t, TextReason(text), "%s: %s", text, tc.reason)
				assert.Empty(t, Rules{}.Variable("value", text), text)
			}
		})
	}
}

func FuzzTexts(f *testing.F) {
	f.Add("postgres://me:pw@db/x?token=\xff%zz=:> <name>")
	f.Fuzz(func(t *testing.T, text string) {
		TextReason(text) // It takes anything.
		assert.NotEmpty(t, TextReason("password=abc;"+text))
	})
}
