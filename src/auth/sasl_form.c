/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inner layers of an initial response: its separators, its keys, its token. */
#include "src/auth/inspect_parts.h"
#include "src/base/log.h"

#include <string.h>

#include "src/base/banned.h"

#define SEPARATOR '\1'
#define USER_SHOWN_MAX 128u
#define INSERTED_MAX 8u /* separators; there are no more keys */

/* ---- separators ---- */

/* What stands for the byte, the longer before what it begins with. */
static const struct {
	const char *text, *name, *id;
} stand_ins[] = {
	{"\\\\x01", "\\\\x01", "separator-as-text"},
	{"\\\\u0001", "\\\\u0001", "separator-as-text"},
	{"\\\\001", "\\\\001", "separator-as-text"},
	{"\\\\1", "\\\\1", "separator-as-text"},
	{"\\x01", "\\x01", "separator-as-text"},
	{"\\u0001", "\\u0001", "separator-as-text"},
	{"\\001", "\\001", "separator-as-text"},
	{"\\01", "\\01", "separator-as-text"},
	{"\\1", "\\1", "separator-as-text"},
	{"^A", "^A", "separator-as-text"},
	{"%01", "%01", "separator-as-text"},
	{"&#1;", "&#1;", "separator-as-text"},
	{"<SOH>", "<SOH>", "separator-as-text"},
	{"\342\220\201", "the picture of SOH", "separator-as-text"},
	{"\1A", "01 41", "separator-hex-slip"},
};
static const char *const keys[] = {"user=", "auth=", "host=", "port="};

static bool is_key(const char *text, size_t length)
{
	for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
		if (inspect_begins(text, length, keys[i]))
			return true;
	return false;
}

/* The stand-in that the text begins with; -1 = none. */
static int stand_in_at(const char *text, size_t length)
{
	for (size_t i = 0; i < G_N_ELEMENTS(stand_ins); i++) {
		size_t n = strlen(stand_ins[i].text);

		if (length >= n && memcmp(text, stand_ins[i].text, n) == 0)
			return (int)i;
	}
	return -1;
}

/* Behind a run of separators, written in any way, and white space. */
static size_t run_end(const char *text, size_t length)
{
	size_t at = 0;

	while (at < length) {
		int which = stand_in_at(text + at, length - at);

		if (which >= 0)
			at += strlen(stand_ins[which].text);
		else if (text[at] == SEPARATOR || g_ascii_isspace(text[at]))
			at++;
		else
			break;
	}
	return at;
}

/* The run with the byte itself for each stand-in. */
static void run_append(GString *out, const char *text, size_t length, unsigned met[G_N_ELEMENTS(stand_ins)])
{
	for (size_t at = 0; at < length;) {
		int which = stand_in_at(text + at, length - at);

		if (which >= 0) {
			met[which]++;
			g_string_append_c(out, SEPARATOR);
			at += strlen(stand_ins[which].text);
		} else {
			g_string_append_c(out, text[at++]);
		}
	}
}

/*
 * `text` with the byte where it is written in another way. A separator belongs in front of a key and at the end:
 * elsewhere those characters are what they are.
 */
static GString *separators_read(struct inspector *in, const char *text, size_t length)
{
	GString *out = g_string_sized_new(length + 16);
	unsigned met[G_N_ELEMENTS(stand_ins)] = {0};

	for (size_t at = 0; at < length;) {
		size_t run = stand_in_at(text + at, length - at) >= 0 ? run_end(text + at, length - at) : 0;

		if (run && (at + run == length || is_key(text + at + run, length - at - run))) {
			run_append(out, text + at, run, met);
			at += run;
		} else {
			g_string_append_len(out, text + at, run ? (gssize)run : 1);
			at += run ? run : 1;
		}
	}
	for (size_t i = 0; i < G_N_ELEMENTS(stand_ins); i++)
		if (met[i])
			inspect_fault(in, stand_ins[i].id, "%s stands %u times where the byte 0x01 belongs",
				stand_ins[i].name, met[i]);
	return out;
}

/* In the middle of a word it is one only as "auth=Bearer". */
static bool is_key_without_separator(const GString *text, size_t at)
{
	const char *key = text->str + at;
	size_t left = text->len - at;

	if (!is_key(key, left) || text->str[at - 1] == SEPARATOR)
		return false;
	return !g_ascii_isalnum(text->str[at - 1]) || inspect_begins(key, left, "auth=Bearer");
}

/* Keys that have no separator in front of them get one. */
static void separators_insert(struct inspector *in, GString *text)
{
	unsigned inserted = 0;

	for (size_t i = 1; i < text->len && inserted < INSERTED_MAX; i++) {
		size_t behind = i;

		if (!is_key_without_separator(text, i))
			continue;
		inserted++;
		/* strchr() finds NUL, too */
		while (behind > 0 && strchr(" \t\r\n;|&", text->str[behind - 1]))
			behind--;
		if (behind < i) {
			inspect_fault(in, "wrong-separator", "0x%02X stands there", (unsigned char)text->str[behind]);
			g_string_erase(text, (gssize)behind, (gssize)(i - behind));
			i = behind;
		} else {
			inspect_fault(in, "missing-separator", "in front of the part that begins at byte %zu", i);
		}
		g_string_insert_c(text, (gssize)i, SEPARATOR);
	}
}

/* ---- user ---- */

static bool is_shown(const char *user, size_t length)
{
	if (length > USER_SHOWN_MAX)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!g_ascii_isalnum(user[i]) && !strchr("@._-+'\\", user[i]))
			return false;
	return true;
}

/* A name is shown only where it can't be a token that lost its place. */
static void user_take(struct inspector *in, const char *user, size_t length)
{
	if (length == 0)
		inspect_fault(in, "user-missing", "its name is empty");
	else if (!is_shown(user, length) || !memchr(user, '@', length))
		inspect_fault(in, "user-form", "%zu bytes, which are no address", length);
	else
		g_strlcpy(in->user, user, MIN(length + 1, sizeof(in->user)));
	if (in->user[0]) {
		log_clean(in->user);
		in->evidence.user = in->user;
	}
}

/* ---- token ---- */

void inspect_token(struct inspector *in, const char *token, size_t length)
{
	g_autofree char *about = NULL;
	size_t good = 0;

	while (good < length && (g_ascii_isalnum(token[good]) || strchr("-._~+/=", token[good])) && token[good])
		good++;
	if (length == 0) {
		inspect_fault(in, "token-missing", "nothing stands there");
		inspect_layer(in, "token", "none");
		return;
	}
	if (good < length)
		inspect_fault(in, "token-form", "%s",
			token[0] == '{' ? "it is JSON: the token is the value of access_token in it"
					: "a character that is none of letters, digits and -._~+/=");
	auth_claims_read(token, length, &in->claims);
	in->evidence.claims = &in->claims;
	if (!in->claims.readable && (inspect_begins(token, length, "0.A") || inspect_begins(token, length, "1.A")))
		auth_causes_add(
			in->faults, &in->evidence, "refresh-token", false, "it begins as those of Microsoft do");
	about = auth_claims_describe(&in->claims, length, in->evidence.now);
	{
		g_autoptr(GPtrArray) found = auth_causes_of_token(&in->evidence);

		while (found->len)
			g_ptr_array_add(in->faults, g_ptr_array_steal_index(found, 0));
	}
	if (in->user[0] && in->claims.user[0] && !in->claims.is_app &&
		g_ascii_strcasecmp(in->user, in->claims.user) != 0)
		auth_causes_add(in->faults, &in->evidence, "token-for-other-user", false,
			"the token's user is %s, the response's %s: right only for a shared mailbox", in->claims.user,
			in->user);
	inspect_layer(in, "token", "%s", about);
}

/* ---- auth ---- */

static size_t bearer_take(struct inspector *in, const char *value, size_t length)
{
	static const char word[] = "Bearer";
	size_t n = sizeof(word) - 1, spaces = 0;

	if (!inspect_begins(value, length, word)) {
		inspect_fault(in, "bearer-missing", "auth= is followed by something else");
		return 0;
	}
	if (memcmp(value, word, n) != 0)
		inspect_fault(in, "bearer-case", "its letters aren't `Bearer`");
	while (n + spaces < length && (value[n + spaces] == ' ' || value[n + spaces] == '\t'))
		spaces++;
	if (spaces != 1 || value[n] != ' ')
		inspect_fault(in, "bearer-spacing", spaces ? "%zu spaces or tabs" : "none (%zu)", spaces);
	return n + spaces;
}

static void end_check(struct inspector *in, const char *text, size_t length)
{
	size_t bytes = 0;

	while (bytes < length && text[bytes] == SEPARATOR)
		bytes++;
	if (bytes < 2)
		inspect_fault(in, "missing-terminator", "%zu of two", bytes);
	else if (bytes > 2)
		inspect_fault(in, "extra-terminator", "%zu of them", bytes);
	if (bytes < length)
		inspect_fault(in, "trailing-bytes", "%zu bytes, the first is 0x%02X", length - bytes,
			(unsigned char)text[bytes]);
}

/* From "auth=" to the end. */
static void auth_take(struct inspector *in, const char *text, size_t length)
{
	const char *end = memchr(text, SEPARATOR, length);
	size_t value = (end ? (size_t)(end - text) : length), at = strlen("auth="), token;

	if (memcmp(text, "auth=", at) != 0)
		inspect_fault(in, "key-case", "auth= is written in another way");
	/* a line end that some program has put behind it isn't the token's */
	while (value > at && !end && g_ascii_isspace(text[value - 1]))
		value--;
	token = at + bearer_take(in, text + at, value - at);
	end_check(in, text + value, length - value);
	inspect_layer(in, "auth", "%s", token > at ? "a bearer token" : "no Bearer");
	inspect_token(in, text + token, value - token);
}

/* ---- the two forms ---- */

/* The part that begins with the key; its length without the separator. */
static const char *part_find(const GString *text, const char *key, size_t *length_out)
{
	for (size_t i = 0; i < text->len; i++) {
		const char *end;

		if ((i > 0 && text->str[i - 1] != SEPARATOR) || !inspect_begins(text->str + i, text->len - i, key))
			continue;
		end = memchr(text->str + i, SEPARATOR, text->len - i);
		*length_out = end ? (size_t)(end - text->str) - i : text->len - i;
		return text->str + i;
	}
	return NULL;
}

static void xoauth2_user(struct inspector *in, const GString *text)
{
	size_t length = 0;
	const char *part = part_find(text, "user=", &length);

	if (!part) {
		inspect_fault(in, "user-missing", "there is no user=");
		return;
	}
	if (memcmp(part, "user=", 5) != 0)
		inspect_fault(in, "key-case", "user= is written in another way");
	user_take(in, part + 5, length - 5);
}

/* "n,a=USER," with `,` and `=` in the name as =2C and =3D (RFC 5801 section 4). */
static void oauthbearer_user(struct inspector *in, const GString *text)
{
	const char *end = memchr(text->str, SEPARATOR, text->len);
	size_t length = end ? (size_t)(end - text->str) : text->len;
	const char *comma = memchr(text->str + 2, ',', length > 2 ? length - 2 : 0);
	size_t name = length > 2 ? (comma ? (size_t)(comma - text->str) : length) - 2 : 0;

	if (!comma || comma != text->str + length - 1)
		inspect_fault(
			in, "gs2-header", comma ? "something follows its second comma" : "it has no second comma");
	if (name < 2 || memcmp(text->str + 2, "a=", 2) != 0) {
		inspect_fault(in, "user-missing", "there is no a= behind n,");
		return;
	}
	{
		g_autofree char *escaped = g_strndup(text->str + 4, name - 2);
		g_auto(GStrv) commas = g_strsplit(escaped, "=2C", -1);
		g_autofree char *half = g_strjoinv(",", commas);
		g_auto(GStrv) signs = g_strsplit(half, "=3D", -1);
		g_autofree char *user = g_strjoinv("=", signs);

		user_take(in, user, strlen(user));
	}
}

static bool is_oauthbearer(const GString *text)
{
	return text->len >= 2 && text->str[1] == ',' && strchr("nyNY", text->str[0]) && text->str[0];
}

void inspect_form(struct inspector *in, const char *text, size_t length)
{
	GString *form = separators_read(in, text, length);
	bool bearer = is_oauthbearer(form);
	const char *name = bearer ? "OAUTHBEARER" : "XOAUTH2", *auth;
	size_t auth_length = 0;

	separators_insert(in, form);
	if (in->mechanism && strcmp(in->mechanism, name) != 0)
		inspect_fault(
			in, "mechanism-mismatch", "the command names %s, the form is that of %s", in->mechanism, name);
	inspect_layer(in, "form", "%s", name);
	auth = part_find(form, "auth=", &auth_length);
	if (bearer)
		oauthbearer_user(in, form);
	else
		xoauth2_user(in, form);
	inspect_layer(in, "user", "%s", in->user[0] ? in->user : "none");
	if (auth) {
		auth_take(in, auth, form->len - (size_t)(auth - form->str));
	} else {
		inspect_fault(in, "auth-missing", "there is no auth=");
		inspect_layer(in, "auth", "none");
	}
	secret_wipe(form->str, form->len);
	g_string_free(form, TRUE);
}
