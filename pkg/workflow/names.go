package workflow

import (
	_ "embed"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// passwordList is what `make generate` reads of OpenMetadata's schemas: a password's name, and the fields that it has to stand
// below; none: wherever it stands.
//
//go:embed passwords.txt
var passwordList string

// passwords are the fields that OpenMetadata's schemas mark as passwords, by their folded names.
var passwords = sync.OnceValue(func() map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(passwordList) {
		fields := strings.Fields(line)
		out[fold(fields[0])] = fields[1:]
	}
	return out
})

// endings are the words of those names that are passwords wherever they stand.
var endings []string

var readEndings sync.Once

// isPassword says whether the schemas mark a field as a password. Nobody can release these.
func isPassword(name, parent string) bool {
	parents, ok := passwords()[fold(name)]
	return ok && (len(parents) == 0 || slices.ContainsFunc(parents, func(p string) bool { return fold(p) == fold(parent) }))
}

// IsPassword says whether OpenMetadata's schemas mark each field of a name as a password.
func IsPassword(name string) bool { return isPassword(name, "") }

// passwordWithin gives the schemas' name that a name ends with, as kafka.basic.auth.user.info does; empty: none.
func passwordWithin(words string) string {
	readEndings.Do(func() {
		for line := range strings.Lines(passwordList) {
			if name, parents, _ := strings.Cut(strings.TrimSpace(line), " "); parents == "" {
				endings = append(endings, splitWords(name))
			}
		}
	})
	for _, ending := range endings {
		if strings.HasSuffix(words, ending) {
			return strings.TrimSpace(ending)
		}
	}
	return ""
}

var separators = strings.NewReplacer("_", "", "-", "", ".", "", " ", "")

// fold makes one of the many ways to write a name: DB_KEY and db.key are dbKey.
func fold(name string) string { return strings.ToLower(separators.Replace(name)) }

// splitWords are the words of a name, in lower case and without plural or number, each with a space on both sides: " db key "
// of DB_KEY, db.keys and dbKey2.
func splitWords(name string) string {
	var out strings.Builder
	runes := []rune(name)
	out.WriteByte(' ')
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			r = ' '
		case unicode.IsUpper(r) && i > 0 && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]) && runes[i+1] != 's'):
			out.WriteByte(' ')
		}
		out.WriteRune(unicode.ToLower(r))
	}
	words := strings.Fields(out.String())
	for i, word := range words {
		words[i] = singular(word)
	}
	return " " + strings.Join(words, " ") + " "
}

// singular takes plural and number off a word.
func singular(word string) string {
	if short := strings.TrimRight(word, "0123456789"); short != "" && short != "b" { // KEYTAB_B64
		word = short
	}
	if len(word) > 3 && strings.HasSuffix(word, "s") && !strings.ContainsRune("sai", rune(word[len(word)-2])) { // Not pass, jaas, redis.
		word = word[:len(word)-1]
	}
	return word
}

var (
	// harmless are terms that have a secret word in them and mean no secret.
	harmless = strings.NewReplacer(
		" secret manager ", " ", " secret scope ", " ", " secret engine ", " ", " secret store ", " ", // Where secrets are.
		" max token ", " ", " min token ", " ", " num token ", " ", " total token ", " ", // Of text, in a model.
		" input token ", " ", " output token ", " ", " prompt token ", " ", " completion token ", " ", " stop token ", " ",
		" include token ", " ", " exclude token ", " ", // Of a filter.
	)
	// secretWords find a word that means a secret, and the one after it.
	secretWords = regexp.MustCompile(`(?:\w*(?:(?:api|access|private|secret|account|shared|auth) ?key|` +
		`password|passwd|passphrase|passcode|pswd|passw|secret|token|credential)|` +
		` (?:pwd|cred|authorization|jaas|keytab|webhook|bearer|psk|cookie|shared access signature|connection ?string|conn ?string|conn ?str|` +
		`(?:ssl|encryption|encrypt|signing|master|service|storage|subscription|ssh|app|application|license|licence|session|client|` +
		`jwt|function|hmac|rsa|aes|pem|cipher|crypto|integration|ingest|ingestion|write|admin|user|deploy|root|security) key|` +
		`(?:db|user|key|store|ssh|root|require|admin|ldap|smtp|mail|proxy|redis|mysql)(?:pass|pwd)))` +
		` (\w*)`)
	// lastWords mean a secret only where nothing follows: the others have other meanings too.
	lastWords = regexp.MustCompile(` (?:pass|pw|pat|jwt|sas|redis auth|cloud auth|webhook ur[li]) $`)
	// whateverFollows are secret also before a word that says something about them, and before the name of an account, which may be
	// any word.
	whateverFollows = regexp.MustCompile(` (?:access ?key ?id|secret id|authorization header|fs azure (?:account key|sas|account oauth client secret|account oauth user password)) `)
	// about are words that say something of a secret, after its name: tokenUri is no token.
	about = strings.Fields("uri url endpoint type kind provider manager name id policy expiry expiration expire ttl lifetime timeout duration " +
		"count limit length size max min format file path location dir directory folder column field header version algorithm alg audience " +
		"issuer scope enabled enable required mode method class index pattern prefix suffix grant host port server region arn ref reference " +
		"interval source validator validation verification renewal cache usage budget window fingerprint alias vault hint encoding label " +
		"description status strategy less")
)

// nameReason says by what part of its name a field or variable is secret; it is empty where the name says nothing.
func nameReason(name string) string {
	words := harmless.Replace(splitWords(name))
	if found := whateverFollows.FindString(words); found != "" {
		return strings.TrimSpace(found)
	}
	if found := passwordWithin(words); found != "" {
		return found
	}
	for _, match := range secretWords.FindAllStringSubmatch(words, -1) {
		if next := match[1]; !slices.Contains(about, next) {
			return strings.TrimSpace(strings.TrimSuffix(match[0], next))
		}
	}
	return strings.TrimSpace(lastWords.FindString(words))
}
