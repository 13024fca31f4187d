/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The outer layers of an initial response: how it came, and its base64. */
#include "src/auth/sasl_inspect.h"
#include "src/auth/inspect_parts.h"

#include <stdarg.h>
#include <string.h>

#include "src/base/banned.h"

#define DECODINGS_MAX 4 /* layers of base64 */

/* Bytes of secrets, wiped with the rest of the layer. */
struct bytes {
	char *text;
	size_t length;
};

static void bytes_fini(struct bytes *bytes)
{
	if (bytes->text)
		secret_wipe(bytes->text, bytes->length);
	g_free(bytes->text);
	*bytes = (struct bytes){NULL, 0};
}

static void bytes_replace(struct bytes *bytes, struct bytes by)
{
	bytes_fini(bytes);
	*bytes = by;
}

/* ---- what the layers share ---- */

void inspect_fault(struct inspector *in, const char *id, const char *format, ...)
{
	g_autofree char *evidence = NULL;
	va_list args;

	va_start(args, format);
	evidence = g_strdup_vprintf(format, args);
	va_end(args);
	auth_causes_add(in->faults, &in->evidence, id, true, "%s", evidence);
}

void inspect_layer(struct inspector *in, const char *name, const char *format, ...)
{
	struct auth_layer *layer = g_new0(struct auth_layer, 1);
	va_list args;

	layer->name = name;
	layer->ok = in->faults->len == in->faults_before;
	va_start(args, format);
	layer->detail = g_strdup_vprintf(format, args);
	va_end(args);
	in->faults_before = in->faults->len;
	g_ptr_array_add(in->layers, layer);
}

bool inspect_begins(const char *text, size_t length, const char *word)
{
	size_t n = strlen(word);

	return length >= n && g_ascii_strncasecmp(text, word, n) == 0;
}

const char *inspect_find(const char *text, size_t length, const char *word)
{
	for (size_t i = 0; i < length; i++)
		if (inspect_begins(text + i, length - i, word))
			return text + i;
	return NULL;
}

/* ---- how it came ---- */

/* Every other byte, where those in between are all but always 0. */
static bool utf16_take(struct bytes *bytes, size_t start)
{
	size_t pairs = (bytes->length - start) / 2, zeros = 0;
	char *out;

	for (size_t i = 0; i < pairs; i++)
		zeros += bytes->text[start + 2 * i] != '\0' && bytes->text[start + 2 * i + 1] == '\0';
	if (pairs < 4 || zeros < pairs - pairs / 8)
		return false;
	out = g_malloc(pairs);
	for (size_t i = 0; i < pairs; i++)
		out[i] = bytes->text[start + 2 * i];
	bytes_replace(bytes, (struct bytes){out, pairs});
	return true;
}

static struct bytes bytes_copy(const char *text, size_t length)
{
	struct bytes copy = {g_malloc(length + 1), length};

	if (length)
		memcpy(copy.text, text, length);
	copy.text[length] = '\0';
	return copy;
}

static void bytes_cut(struct bytes *bytes, size_t start, size_t end)
{
	bytes_replace(bytes, bytes_copy(bytes->text + start, end - start));
}

static void byte_order_take(struct inspector *in, struct bytes *bytes)
{
	if (bytes->length >= 2 && memcmp(bytes->text, "\xff\xfe", 2) == 0 && utf16_take(bytes, 2)) {
		inspect_fault(in, "utf-16", "the input itself is UTF-16");
	} else if (bytes->length >= 3 && memcmp(bytes->text, "\xef\xbb\xbf", 3) == 0) {
		inspect_fault(in, "byte-order-mark", "its first bytes are EF BB BF");
		bytes_cut(bytes, 3, bytes->length);
	}
}

/* White space and quotation marks around it. The line end of a file counts for nothing. */
static void surroundings_take(struct inspector *in, struct bytes *bytes)
{
	size_t start = 0, end = bytes->length;

	while (end > start && (bytes->text[end - 1] == '\n' || bytes->text[end - 1] == '\r'))
		end--;
	if (end > start &&
		(g_ascii_isspace(bytes->text[start]) || bytes->text[end - 1] == ' ' || bytes->text[end - 1] == '\t'))
		inspect_fault(in, "whitespace", "around it");
	while (start < end && g_ascii_isspace(bytes->text[start]))
		start++;
	while (end > start && g_ascii_isspace(bytes->text[end - 1]))
		end--;
	if (end - start >= 2 && bytes->text[start] == bytes->text[end - 1] && strchr("\"'`", bytes->text[start])) {
		inspect_fault(in, "quotes", "it begins and ends in %c", bytes->text[start]);
		start++;
		end--;
	}
	bytes_cut(bytes, start, end);
}

/* "C: a1 AUTHENTICATE XOAUTH2 " in front of it, and SMTP's AUTH, are no fault. */
static void command_take(struct inspector *in, struct bytes *bytes)
{
	static const char *const verbs[] = {"AUTHENTICATE ", "AUTH "};
	static const char *const mechanisms[] = {"XOAUTH2", "OAUTHBEARER"};
	size_t line = MIN(bytes->length, 64);

	for (size_t i = 0; i < G_N_ELEMENTS(verbs); i++) {
		const char *verb = inspect_find(bytes->text, line, verbs[i]), *end = bytes->text + bytes->length;

		for (size_t k = 0; verb && k < G_N_ELEMENTS(mechanisms); k++) {
			const char *word = verb + strlen(verbs[i]), *behind = word + strlen(mechanisms[k]);

			if (!inspect_begins(word, (size_t)(end - word), mechanisms[k]))
				continue;
			while (behind < end && g_ascii_isspace(*behind))
				behind++;
			in->mechanism = mechanisms[k];
			bytes_cut(bytes, (size_t)(behind - bytes->text), bytes->length);
			return;
		}
	}
}

/* ---- base64 ---- */

static bool is_form(const struct bytes *bytes)
{
	return inspect_find(bytes->text, bytes->length, "auth=") || inspect_find(bytes->text, bytes->length, "user=") ||
	       inspect_begins(bytes->text, bytes->length, "n,") || inspect_begins(bytes->text, bytes->length, "y,") ||
	       inspect_find(bytes->text, bytes->length, "bearer ");
}

/* A token alone, where a response should be. */
static bool is_token(const struct bytes *bytes)
{
	struct auth_claims claims;

	auth_claims_read(bytes->text, bytes->length, &claims);
	return claims.readable;
}

struct alphabet {
	bool url, standard, space, pad_inside;
	size_t foreign; /* bytes that base64 doesn't have */
	size_t digits, pads;
};

/* Normalizes into `out` and counts what it met. */
static void alphabet_read(const struct bytes *bytes, GString *out, struct alphabet *seen)
{
	for (size_t i = 0; i < bytes->length; i++) {
		char c = bytes->text[i];

		if (g_ascii_isspace(c)) {
			seen->space = true;
		} else if (c == '=') {
			seen->pads++;
		} else if (g_ascii_isalnum(c) || c == '+' || c == '/' || c == '-' || c == '_') {
			seen->pad_inside |= seen->pads > 0;
			seen->url |= c == '-' || c == '_';
			seen->standard |= c == '+' || c == '/';
			g_string_append_c(out, c == '-' ? '+' : c == '_' ? '/' : c);
			seen->digits++;
		} else {
			seen->foreign++;
		}
	}
}

static bool decode(const struct bytes *bytes, struct bytes *plain_out, struct alphabet *seen)
{
	GString *text = g_string_sized_new(bytes->length + 8);
	gsize length = 0;

	memset(seen, 0, sizeof(*seen));
	alphabet_read(bytes, text, seen);
	while (text->len % 4)
		g_string_append_c(text, '=');
	if (seen->digits >= 4 && seen->foreign == 0 && seen->digits % 4 != 1) {
		plain_out->text = (char *)g_base64_decode(text->str, &length);
		plain_out->length = length;
	}
	secret_wipe(text->str, text->len);
	g_string_free(text, TRUE);
	return length > 0;
}

static void alphabet_faults(struct inspector *in, const struct alphabet *seen)
{
	size_t pads = (4 - seen->digits % 4) % 4;

	if (seen->space)
		inspect_fault(in, "whitespace", "inside of the base64");
	if (seen->url)
		inspect_fault(in, "url-safe-base64", "it has - or _");
	if (seen->pad_inside)
		inspect_fault(in, "broken-base64", "= stands inside: parts that were encoded each for itself?");
	else if (seen->pads < pads)
		inspect_fault(in, "missing-padding", "%zu of %zu = at its end", seen->pads, pads);
	else if (seen->pads > pads)
		inspect_fault(in, "broken-base64", "%zu = at its end, where %zu belong", seen->pads, pads);
}

static bool is_base64_of_form(const struct bytes *bytes)
{
	struct bytes plain = {0};
	struct alphabet seen;
	bool found;

	if (is_form(bytes))
		return false;
	if (!decode(bytes, &plain, &seen))
		return false;
	found = is_form(&plain) || is_base64_of_form(&plain);
	bytes_fini(&plain);
	return found;
}

/* Decodes as often as it must be; false when what remains is nothing that we know. */
static bool base64_take(struct inspector *in, struct bytes *bytes)
{
	struct bytes plain = {0};
	struct alphabet seen;
	int times = 0;

	while (times < DECODINGS_MAX && !is_form(bytes) && decode(bytes, &plain, &seen)) {
		alphabet_faults(in, &seen);
		bytes_replace(bytes, plain);
		plain = (struct bytes){NULL, 0};
		times++;
		if (utf16_take(bytes, 0))
			inspect_fault(in, "utf-16", "in what was encoded");
		if (!is_base64_of_form(bytes))
			break;
	}
	if (times == 0 && is_form(bytes))
		auth_causes_add(in->faults, &in->evidence, "not-encoded", false, "it is the plain text of a response");
	if (times > 1)
		inspect_fault(in, "encoded-twice", "it had to be decoded %d times", times);
	if (!is_form(bytes) && !is_token(bytes)) {
		inspect_fault(in, "broken-base64", times ? "what it decodes to is no response" : "it can't be decoded");
		inspect_layer(in, "base64", "no response in it");
		return false;
	}
	inspect_layer(in, "base64", times == 0 ? "none" : times == 1 ? "decoded once" : "decoded %d times", times);
	return true;
}

/* ---- all of it ---- */

static void response_inspect(struct inspector *in, struct bytes *bytes)
{
	size_t length = bytes->length;

	byte_order_take(in, bytes);
	surroundings_take(in, bytes);
	command_take(in, bytes);
	if (bytes->length == 0) {
		inspect_fault(in, "empty-response", "%zu bytes", length);
		inspect_layer(in, "input", "empty");
		return;
	}
	inspect_layer(in, "input", "%zu bytes%s%s", length, in->mechanism ? ", the command names " : "",
		in->mechanism ? in->mechanism : "");
	if (!is_token(bytes) && !base64_take(in, bytes))
		return;
	if (is_form(bytes)) {
		inspect_form(in, bytes->text, bytes->length);
		return;
	}
	inspect_fault(in, "user-missing", "this is an access token and nothing else");
	inspect_fault(in, "auth-missing", "this is an access token and nothing else");
	inspect_layer(in, "form", "an access token alone");
	inspect_token(in, bytes->text, bytes->length);
}

bool auth_token_is_response(const char *token, size_t length)
{
	struct bytes bytes = bytes_copy(token, MIN(length, AUTH_INSPECT_BYTES_MAX));
	bool found = is_base64_of_form(&bytes);

	bytes_fini(&bytes);
	return found;
}

static void layer_free(gpointer data)
{
	struct auth_layer *layer = data;

	g_free(layer->detail);
	g_free(layer);
}

void auth_inspect(const char *input, size_t length, int64_t now, struct auth_inspection *inspection_out)
{
	struct inspector in = {.layers = g_ptr_array_new_with_free_func(layer_free), .faults = auth_causes_new()};
	struct bytes bytes = bytes_copy(input, MIN(length, AUTH_INSPECT_BYTES_MAX));

	in.evidence.now = now;
	in.evidence.method = AUTH_TOKEN_FILE;
	if (!inspect_http(&in, bytes.text, bytes.length))
		response_inspect(&in, &bytes);
	bytes_fini(&bytes);
	*inspection_out = (struct auth_inspection){in.layers, in.faults};
}

void auth_inspection_fini(struct auth_inspection *inspection)
{
	g_clear_pointer(&inspection->layers, g_ptr_array_unref);
	g_clear_pointer(&inspection->faults, g_ptr_array_unref);
}
