/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/secret.h"

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "src/base/banned.h"

/*
 * A needle is one form in which a secret may show: raw, percent-encoded, base64 at one of three
 * alignments. A bitmap of the hashes of all 8-byte windows of the needles tells for most places of
 * a text, at the cost of one multiplication, that no needle shows there.
 */
enum { NEEDLES = 5, WINDOW = 8, BITMAP_BITS = 18 };

struct secret {
	atomic_uint references;
	size_t length;
	uint64_t *windows; /* 2^BITMAP_BITS bits */
	bool short_needle; /* one is shorter than SECRET_PART_MIN: the bitmap can't tell */
	char *needles[NEEDLES];
	size_t needle_lengths[NEEDLES];
	char bytes[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards `living` */
static GPtrArray *living;

void secret_wipe(void *bytes, size_t length)
{
	explicit_bzero(bytes, length);
}

void secret_free_text(char *text)
{
	if (!text)
		return;
	secret_wipe(text, strlen(text));
	g_free(text);
}

static uint32_t window_hash(const char *at)
{
	uint64_t window;

	memcpy(&window, at, sizeof(window));
	return (uint32_t)(window * 0x9e3779b97f4a7c15ull >> (64 - BITMAP_BITS));
}

static bool window_known(const struct secret *s, const char *at)
{
	uint32_t hash = window_hash(at);

	return s->windows[hash / 64] >> (hash % 64) & 1;
}

static void needle_set(struct secret *s, int index, char *text)
{
	s->needles[index] = text;
	s->needle_lengths[index] = strlen(text);
	if (s->needle_lengths[index] < SECRET_PART_MIN)
		s->short_needle = true;
	for (size_t i = 0; i + WINDOW <= s->needle_lengths[index]; i++) {
		uint32_t hash = window_hash(text + i);

		s->windows[hash / 64] |= 1ull << (hash % 64);
	}
}

/* What base64 of PREFIX+secret+SUFFIX must contain, whatever the prefix of that length mod 3 is. */
static char *base64_inside(const struct secret *s, size_t skip)
{
	/* leave out the bytes that share a group of three with the prefix, and the last, incomplete group */
	size_t first = skip ? 3 - skip : 0;
	size_t whole;

	if (s->length <= first)
		return g_strdup("");
	whole = (s->length - first) / 3 * 3;
	return g_base64_encode((const guchar *)s->bytes + first, whole);
}

struct secret *secret_new(const char *bytes, size_t length)
{
	struct secret *s;

	if (length > SECRET_BYTES_MAX)
		return NULL;
	s = g_malloc0(sizeof(*s) + length + 1);
	atomic_init(&s->references, 1);
	s->length = length;
	s->windows = g_malloc0((1u << BITMAP_BITS) / 8);
	memcpy(s->bytes, bytes, length);
	/* a NUL in the middle would end every search too early */
	needle_set(s, 0, g_strdup(s->bytes));
	needle_set(s, 1, g_uri_escape_string(s->bytes, NULL, FALSE));
	for (size_t skip = 0; skip < 3; skip++)
		needle_set(s, 2 + (int)skip, base64_inside(s, skip));
	pthread_mutex_lock(&lock);
	if (!living)
		living = g_ptr_array_new();
	g_ptr_array_add(living, s);
	pthread_mutex_unlock(&lock);
	return s;
}

struct secret *secret_new_take(char *text)
{
	struct secret *s;

	if (!text)
		return NULL;
	s = secret_new(text, strlen(text));
	secret_free_text(text);
	return s;
}

struct secret *secret_ref(struct secret *s)
{
	if (s)
		atomic_fetch_add(&s->references, 1);
	return s;
}

void secret_unref(struct secret *s)
{
	if (!s || atomic_fetch_sub(&s->references, 1) != 1)
		return;
	pthread_mutex_lock(&lock);
	g_ptr_array_remove_fast(living, s);
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < NEEDLES; i++)
		secret_free_text(s->needles[i]);
	g_free(s->windows);
	secret_wipe(s->bytes, s->length);
	g_free(s);
}

const char *secret_text(const struct secret *s)
{
	return s->bytes;
}

size_t secret_length(const struct secret *s)
{
	return s->length;
}

bool secret_equal(const struct secret *a, const struct secret *b)
{
	return a && b && a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

static bool is_base64(char c)
{
	return g_ascii_isalnum(c) || c == '+' || c == '/' || c == '=' || c == '-' || c == '_';
}

/* How many bytes at `at` show a part of the needle; 0 = none. */
static size_t needle_match(const char *at, size_t rest, const char *needle, size_t length)
{
	size_t part = MIN(length, SECRET_PART_MIN);
	const char *from = needle, *found;
	size_t best = 0;

	if (!length || rest < part)
		return 0;
	while ((found = memmem(from, length - (size_t)(from - needle), at, part))) {
		size_t n = part, most = MIN(rest, length - (size_t)(found - needle));

		while (n < most && at[n] == found[n])
			n++;
		best = MAX(best, n);
		from = found + 1;
	}
	return best;
}

bool secret_scrub(char *text, size_t size)
{
	static const char mark[] = "[secret]";
	size_t length = strnlen(text, size), read = 0, written = 0;
	g_autofree char *out = NULL;
	bool any = false;

	if (length < 4)
		return false;
	pthread_mutex_lock(&lock);
	if (!living || living->len == 0) {
		pthread_mutex_unlock(&lock);
		return false;
	}
	out = g_malloc(length * sizeof(mark) + 1);
	while (read < length) {
		size_t best = 0;
		bool encoded = false;

		for (guint i = 0; i < living->len; i++) {
			const struct secret *s = living->pdata[i];

			if (!s->short_needle && (length - read < SECRET_PART_MIN || !window_known(s, text + read) ||
							!window_known(s, text + read + SECRET_PART_MIN - WINDOW)))
				continue;
			for (int n = 0; n < NEEDLES; n++) {
				size_t hit;

				/* very short passwords: only whole, and not in base64, else every log line is a hit */
				if (s->needle_lengths[n] < (n < 2 ? 4u : SECRET_PART_MIN))
					continue;
				hit = needle_match(text + read, length - read, s->needles[n], s->needle_lengths[n]);
				if (hit > best) {
					best = hit;
					encoded = n >= 2;
				}
			}
		}
		if (!best) {
			out[written++] = text[read++];
			continue;
		}
		any = true;
		if (encoded) {
			/* the groups at both ends mix the secret with its neighbours: take them too */
			while (written && is_base64(out[written - 1]))
				written--;
			while (read + best < length && is_base64(text[read + best]))
				best++;
		}
		memcpy(out + written, mark, sizeof(mark) - 1);
		written += sizeof(mark) - 1;
		read += best;
	}
	pthread_mutex_unlock(&lock);
	if (any) {
		written = MIN(written, size - 1);
		memcpy(text, out, written);
		text[written] = '\0';
	}
	secret_wipe(out, length);
	return any;
}
