/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/loop.h"
#include "src/cache/cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/cache_help.h"

#include "src/base/banned.h"

struct rows {
	unsigned count;
	uint32_t last_uid;
	bool sorted;
	char *stem, *subject, *keywords;
	uint32_t flags;
	uint64_t size_bytes;
	bool size_exact;
	size_t subject_length;
};

static void see_row(void *ctx, const struct cache_message *message)
{
	struct rows *rows = ctx;

	rows->sorted = (!rows->count || rows->sorted) && message->uid > rows->last_uid;
	rows->count++;
	rows->last_uid = message->uid;
	rows->flags = message->flags;
	rows->size_bytes = message->size_bytes;
	rows->size_exact = message->size_exact;
	g_free(rows->stem);
	g_free(rows->subject);
	g_free(rows->keywords);
	rows->stem = g_strdup(message->stem);
	rows->subject = g_strdup(message->subject);
	rows->keywords = g_strdup(message->keywords);
	rows->subject_length = message->subject ? strlen(message->subject) : 0;
}

static void rows_fini(struct rows *rows)
{
	g_free(rows->stem);
	g_free(rows->subject);
	g_free(rows->keywords);
	*rows = (struct rows){0};
}

static struct rows rows_of(struct cache *cache, uint32_t folder)
{
	struct rows rows = {0};
	struct error err;

	assert_int_equal(cache_messages_load(cache, folder, see_row, &rows, &err), 0);
	return rows;
}

static int place_setup(void **state)
{
	*state = help_dir_new();
	return 0;
}

static int place_teardown(void **state)
{
	help_dir_free(*state);
	return 0;
}

static void traits_come_back(void **state)
{
	struct cache *cache = help_open(*state, 0);
	char *value;

	assert_null(cache_trait_get(cache, "sizes.confirmed"));
	cache_trait_put(cache, "sizes.confirmed", "12");
	cache_trait_put(cache, "sizes.lied", "x");
	cache_trait_put(cache, "sizes.lied", NULL);
	cache_close(cache);
	cache = help_open(*state, 0);
	value = cache_trait_get(cache, "sizes.confirmed");
	assert_string_equal(value, "12");
	g_free(value);
	assert_null(cache_trait_get(cache, "sizes.lied"));
	cache_close(cache);
}

/* The model asks for ids and numbers from within the callback. */
static void see_folder(void *ctx, const struct cache_folder *folder)
{
	struct cache *cache = ((void **)ctx)[0];
	struct cache_folder *found = ((void **)ctx)[1];
	uint32_t id, number;
	struct error err;

	assert_int_equal(cache_folder_id(cache, folder->name, &id, &err), 0);
	assert_int_equal(id, folder->id);
	assert_int_equal(cache_number(cache, folder->name, 77, &number, &err), 0);
	*found = *folder;
	found->name = NULL;
	assert_string_equal(folder->name, "Entw&APw-rfe/\xff raw");
}

static void folders_come_back(void **state)
{
	struct cache *cache = help_open(*state, 0);
	struct cache_folder folder = {.name = (char *)"Entw&APw-rfe/\xff raw",
		.uidvalidity = UINT32_MAX,
		.uidnext = 9,
		.messages = 8,
		.highestmodseq = UINT64_MAX - 1,
		.checked_at = 1700000000,
		.attributes = 5,
		.number = 0x7fffffff,
		.message_number = 3,
		.delimiter = '/',
		.missing = true};
	struct cache_folder found = {0};
	void *ctx[2] = {cache, &found};
	struct error err;

	assert_int_equal(cache_folder_id(cache, folder.name, &folder.id, &err), 0);
	assert_int_not_equal(folder.id, 0);
	cache_folder_put(cache, &folder);
	cache_flush(cache);
	assert_int_equal(cache_folders_load(cache, see_folder, ctx, &err), 0);
	folder.name = NULL;
	assert_int_equal(found.highestmodseq, folder.highestmodseq);
	assert_int_equal(found.uidvalidity, folder.uidvalidity);
	assert_int_equal(found.checked_at, folder.checked_at);
	assert_int_equal(found.delimiter, '/');
	assert_true(found.missing);
	cache_folder_drop(cache, folder.id);
	cache_flush(cache);
	found = (struct cache_folder){0};
	assert_int_equal(cache_folders_load(cache, see_folder, ctx, &err), 0);
	assert_int_equal(found.id, 0);
	cache_close(cache);
}

static void numbers_are_kept_and_never_clash(void **state)
{
	struct cache *cache = help_open(*state, 0);
	uint32_t first, second, third, again;
	struct error err;

	assert_int_equal(cache_number(cache, "a", 0x7fffffff, &first, &err), 0);
	assert_int_equal(first, 0x7fffffff);
	assert_int_equal(cache_number(cache, "b", 0x7fffffff, &second, &err), 0);
	assert_int_equal(second, 1);
	assert_int_equal(cache_number(cache, "c", 0x80000000, &third, &err), 0);
	assert_int_equal(third, 2);
	cache_close(cache);
	cache = help_open(*state, 0);
	assert_int_equal(cache_number(cache, "b", 500, &again, &err), 0);
	assert_int_equal(again, second);
	/* all want the same: each gets one, and it doesn't take for ever */
	for (unsigned i = 0; i < 300; i++) {
		g_autofree char *key = g_strdup_printf("clash%u", i);

		assert_int_equal(cache_number(cache, key, 4711, &again, &err), 0);
		assert_int_not_equal(again, 0);
	}
	cache_close(cache);
}

static void messages_follow_batches(void **state)
{
	struct cache *cache = help_open(*state, 0);
	struct cache_batch *batch = cache_batch_new(cache, 3);
	g_autofree char *huge = g_strnfill(5000, 'x');
	struct cache_message message = {
		.uid = 10, .flags = 1, .size_bytes = 100, .date = -5, .stem = "stem", .from = "f", .subject = huge};
	struct rows rows = {0};
	struct error err;

	/* a character of three octets across the bound is left out whole */
	memcpy(huge + 4095, "\xe2\x82\xac", 3);
	cache_batch_put(batch, &message);
	message.uid = UINT32_MAX;
	message.subject = NULL;
	cache_batch_put(batch, &message);
	message.uid = 5;
	cache_batch_put(batch, &message);
	cache_batch_flags(batch, 10, 6, "alpha beta");
	cache_batch_size(batch, 10, 1234567890123ull);
	cache_batch_drop(batch, 5);
	cache_batch_submit(batch);
	cache_flush(cache);
	rows = rows_of(cache, 3);
	assert_int_equal(rows.count, 2);
	assert_true(rows.sorted);
	assert_int_equal(rows.last_uid, UINT32_MAX);
	rows_fini(&rows);
	assert_int_equal(cache_message_find(cache, 3, 10, see_row, &rows, &err), 1);
	assert_int_equal(rows.flags, 6);
	assert_string_equal(rows.keywords, "alpha beta");
	assert_string_equal(rows.stem, "stem");
	assert_int_equal(rows.size_bytes, 1234567890123ull);
	assert_true(rows.size_exact);
	assert_int_equal(rows.subject_length, 4095);
	rows_fini(&rows);
	assert_int_equal(cache_message_find(cache, 3, 5, see_row, &rows, &err), 0);
	assert_int_equal(rows_of(cache, 4).count, 0);
	assert_int_equal(rows_of(cache, 2).count, 0);
	cache_close(cache);
}

static void note_checked(void *ctx, const struct cache_folder *folder)
{
	*(int64_t *)ctx = folder->checked_at;
}

static void a_cleared_listing_counts_as_unknown(void **state)
{
	struct cache *cache = help_open(*state, 0);
	struct cache_folder folder = {.id = 1, .name = (char *)"INBOX", .checked_at = 99};
	struct cache_key key = {1, 7, 1, false};
	struct cache_batch *batch;
	struct cache_body *body;
	int64_t checked_at = -1;
	struct error err;

	batch = cache_batch_new(cache, 1);
	cache_batch_put(batch, &(struct cache_message){.uid = 1});
	cache_batch_folder(batch, &folder);
	cache_batch_submit(batch);
	help_put(cache, &key);
	cache_flush(cache);
	batch = cache_batch_new(cache, 1);
	cache_batch_clear(batch);
	cache_batch_put(batch, &(struct cache_message){.uid = 2});
	cache_batch_submit(batch);
	/* at once, for bodies */
	assert_int_equal(cache_body_get(cache, &key, &body, &err), 0);
	cache_flush(cache);
	assert_int_equal(cache_body_get(cache, &key, &body, &err), 0);
	assert_int_equal(cache_folders_load(cache, note_checked, &checked_at, &err), 0);
	assert_int_equal(checked_at, 0);
	assert_int_equal(rows_of(cache, 1).last_uid, 2);
	/* and what comes after the clearing stays */
	help_put(cache, &key);
	cache_flush(cache);
	help_expect(cache, &key);
	cache_close(cache);
}

static void bodies_come_back(void **state)
{
	struct cache *cache = help_open(*state, 0);
	struct cache_key other = {1, 7, 1, true};
	struct cache_body *body;
	uint64_t offset;
	struct error err;
	char byte;

	for (uint32_t uid = 1; uid <= 300; uid++)
		help_put(cache, &(struct cache_key){1, 7, uid, false});
	for (uint32_t uid = 1; uid <= 300; uid++)
		help_expect(cache, &(struct cache_key){1, 7, uid, false});
	cache_flush(cache);
	for (uint32_t uid = 1; uid <= 300; uid++)
		help_expect(cache, &(struct cache_key){1, 7, uid, false});
	assert_int_equal(cache_body_get(cache, &other, &body, &err), 0);
	other.lf = false;
	assert_int_equal(cache_body_get(cache, &other, &body, &err), 1);
	assert_null(cache_body_memory(body));
	assert_true(cache_body_fd(body, &offset) >= 0);
	assert_int_equal(cache_body_read(body, cache_body_length(body), &byte, 1, &err), 0);
	assert_int_equal(cache_body_read(body, UINT64_MAX, &byte, 1, &err), 0);
	/* what is held stays readable */
	cache_body_drop(cache, &other);
	cache_flush(cache);
	help_expect_body(&other, body);
	cache_body_unref(body);
	assert_int_equal(cache_body_get(cache, &other, &body, &err), 0);
	cache_close(cache);
	cache = help_open(*state, 0);
	assert_int_equal(cache_body_get(cache, &other, &body, &err), 0);
	for (uint32_t uid = 2; uid <= 300; uid++)
		help_expect(cache, &(struct cache_key){1, 7, uid, false});
	cache_close(cache);
}

static void an_empty_body_is_one(void **state)
{
	struct cache *cache = help_open(*state, 0);
	struct cache_key key = {1, 1, 1, true};
	GBytes *empty = g_bytes_new(NULL, 0);
	struct cache_body *body = cache_body_put(cache, &key, empty);
	struct error err;

	assert_int_equal(cache_body_length(body), 0);
	assert_non_null(cache_body_memory(body));
	cache_body_unref(body);
	g_bytes_unref(empty);
	cache_flush(cache);
	assert_int_equal(cache_body_get(cache, &key, &body, &err), 1);
	assert_int_equal(cache_body_length(body), 0);
	cache_body_unref(body);
	cache_close(cache);
}

/* A figure for people: machines differ too much to assert one. */
static void hits_are_timed(void **state)
{
	struct cache *cache = help_open(*state, 0);
	const unsigned count = 5000;
	gint64 started_us;

	for (uint32_t uid = 1; uid <= count; uid++)
		help_put_sized(cache, &(struct cache_key){1, 7, uid, false}, 1000);
	cache_flush(cache);
	started_us = g_get_monotonic_time();
	for (uint32_t uid = 1; uid <= count; uid++) {
		struct cache_body *body = NULL;
		struct error err;

		assert_int_equal(cache_body_get(cache, &(struct cache_key){1, 7, uid, false}, &body, &err), 1);
		assert_int_equal(cache_body_length(body), 1000);
		cache_body_unref(body);
	}
	print_message("cache_body_get: %.2f us\n", (double)(g_get_monotonic_time() - started_us) / count);
	cache_close(cache);
}

static void the_first_body_stays(void **state)
{
	struct cache *cache = help_open(*state, 0);
	struct cache_key key = {1, 7, 1, false};
	GBytes *second = g_bytes_new_static("another fetch", 13);

	for (int written = 0; written < 2; written++) {
		struct cache_body *body;

		help_put(cache, &key);
		body = cache_body_put(cache, &key, second);
		help_expect_body(&key, body);
		cache_body_unref(body);
		cache_flush(cache);
	}
	g_bytes_unref(second);
	cache_close(cache);
}

static void uids_include_what_is_queued(void **state)
{
	struct cache *cache = help_open(*state, 0);
	GArray *uids = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	struct cache_batch *batch;
	struct error err;

	for (uint32_t uid = 10; uid > 0; uid -= 2)
		help_put(cache, &(struct cache_key){1, 7, uid, false});
	cache_flush(cache);
	for (uint32_t uid = 1; uid < 10; uid += 2)
		help_put(cache, &(struct cache_key){1, 7, uid, false});
	help_put(cache, &(struct cache_key){1, 8, 50, false});
	help_put(cache, &(struct cache_key){1, 7, 51, true});
	help_put(cache, &(struct cache_key){2, 7, 52, false});
	for (int flushed = 0; flushed < 2; flushed++) {
		assert_int_equal(cache_body_uids(cache, 1, 7, false, uids, &err), 0);
		assert_int_equal(uids->len, 10);
		for (uint32_t i = 0; i < 10; i++)
			assert_int_equal(g_array_index(uids, uint32_t, i), i + 1);
		cache_flush(cache);
	}
	batch = cache_batch_new(cache, 1);
	cache_batch_drop(batch, 4);
	cache_batch_submit(batch);
	for (int flushed = 0; flushed < 2; flushed++) {
		assert_int_equal(cache_body_uids(cache, 1, 7, false, uids, &err), 0);
		assert_int_equal(uids->len, 9);
		assert_int_equal(g_array_index(uids, uint32_t, 3), 5);
		cache_flush(cache);
	}
	g_array_unref(uids);
	cache_close(cache);
}

static void own_file_above_its_size(void **state)
{
	struct cache *cache = help_open(*state, 0);
	struct cache_key key = {1, 7, 1, false}, small = {1, 7, 2, false};
	size_t length = CACHE_OWN_FILE_BYTES + 5;
	char *text = g_strnfill(length, 'm');
	GBytes *bytes = g_bytes_new_take(text, length);
	struct cache_stats stats;
	struct cache_body *body;
	struct error err;
	char got[8];

	help_put(cache, &small);
	cache_body_unref(cache_body_put(cache, &key, bytes));
	g_bytes_unref(bytes);
	cache_close(cache);
	cache = help_open(*state, 0);
	cache_stats(cache, &stats);
	assert_int_equal(stats.segments, 2);
	assert_int_equal(stats.messages, 2);
	assert_int_equal(cache_body_get(cache, &key, &body, &err), 1);
	assert_int_equal(cache_body_read(body, length - 3, got, sizeof(got), &err), 3);
	assert_memory_equal(got, "mmm", 3);
	cache_body_unref(body);
	help_expect(cache, &small);
	cache_close(cache);
}

static void streams_are_read_while_they_come(void **state)
{
	struct cache *cache = help_open(*state, 0);
	struct cache_key key = {1, 7, 9, false};
	struct cache_stream *stream;
	struct cache_body *body;
	struct error err;
	char got[64];

	assert_int_equal(cache_stream_open(cache, &key, 10, &stream, &err), 0);
	assert_int_equal(cache_stream_read(stream, 0, got, sizeof(got), &err), 0);
	assert_int_equal(cache_stream_write(stream, "01234", 5, &err), 0);
	assert_int_equal(cache_stream_read(stream, 3, got, sizeof(got), &err), 2);
	assert_memory_equal(got, "34", 2);
	assert_int_equal(cache_body_get(cache, &key, &body, &err), 0);
	assert_int_equal(cache_stream_write(stream, "56789", 5, &err), 0);
	assert_int_equal(cache_stream_commit(stream, &body, &err), 0);
	assert_int_equal(cache_body_read(body, 0, got, sizeof(got), &err), 10);
	assert_memory_equal(got, "0123456789", 10);
	cache_body_unref(body);
	assert_int_equal(cache_body_get(cache, &key, &body, &err), 1);
	cache_body_unref(body);
	cache_close(cache);
	cache = help_open(*state, 0);
	assert_int_equal(cache_body_get(cache, &key, &body, &err), 1);
	assert_int_equal(cache_body_read(body, 0, got, sizeof(got), &err), 10);
	assert_memory_equal(got, "0123456789", 10);
	cache_body_unref(body);
	cache_close(cache);
}

static void a_stream_of_another_length_fails(void **state)
{
	struct cache *cache = help_open(*state, 0);
	struct cache_key key = {1, 7, 9, false};
	struct cache_stream *stream;
	struct cache_body *body;
	struct error err;

	assert_int_equal(cache_stream_open(cache, &key, 10, &stream, &err), 0);
	assert_int_equal(cache_stream_write(stream, "01234", 5, &err), 0);
	assert_int_equal(cache_stream_commit(stream, &body, &err), ERR_STORAGE);
	assert_int_equal(cache_stream_open(cache, &key, 3, &stream, &err), 0);
	assert_int_equal(cache_stream_write(stream, "01234", 5, &err), ERR_STORAGE);
	cache_stream_abort(stream);
	cache_flush(cache);
	assert_int_equal(cache_body_get(cache, &key, &body, &err), 0);
	assert_int_equal(help_files(cache, "tmp-"), 0);
	cache_close(cache);
}

static void eviction_keeps_the_bound_and_the_newest(void **state)
{
	const uint64_t limit = 8u << 20;
	struct cache *cache = help_open(*state, limit);
	struct cache_stats stats;
	struct cache_body *held, *body;
	struct cache_key first = {1, 7, 1, false};
	unsigned found = 0;
	struct error err;

	help_put_sized(cache, &first, 50000);
	cache_flush(cache);
	assert_int_equal(cache_body_get(cache, &first, &held, &err), 1);
	/* five times what fits, in steps: the bound holds all the while */
	for (uint32_t uid = 2; uid <= 800; uid++) {
		help_put_sized(cache, &(struct cache_key){1, 7, uid, false}, 50000);
		if (uid % 50 == 0) {
			cache_flush(cache);
			cache_stats(cache, &stats);
			assert_in_range(stats.bytes, 1, limit + (1u << 20));
			assert_in_range(help_bytes_on_disk(cache), 1, limit + (3u << 20));
		}
	}
	cache_flush(cache);
	cache_stats(cache, &stats);
	assert_true(stats.evicted_bytes > 3 * limit);
	for (uint32_t uid = 701; uid <= 800; uid++)
		help_expect_sized(cache, &(struct cache_key){1, 7, uid, false}, 50000);
	for (uint32_t uid = 1; uid <= 800; uid++) {
		if (cache_body_get(cache, &(struct cache_key){1, 7, uid, false}, &body, &err) == 1) {
			cache_body_unref(body);
			found++;
		}
	}
	assert_in_range(found, 120, 180);
	/* evicted long ago, open all the same */
	help_expect_body_sized(&first, held, 50000);
	cache_body_unref(held);
	cache_close(cache);
}

static void larger_than_the_limit_is_read_but_not_kept(void **state)
{
	struct cache *cache = help_open(*state, 100000);
	struct cache_key key = {1, 7, 1, false}, streamed = {1, 7, 2, false};
	g_autofree char *zeros = g_malloc0(200000);
	struct cache_stream *stream;
	struct cache_body *body;
	struct cache_stats stats;
	struct error err;

	help_put_sized(cache, &key, 200000);
	assert_int_equal(cache_stream_open(cache, &streamed, 200000, &stream, &err), 0);
	assert_int_equal(cache_stream_write(stream, zeros, 200000, &err), 0);
	assert_int_equal(cache_stream_commit(stream, &body, &err), 0);
	cache_flush(cache);
	assert_int_equal(cache_body_read(body, 199999, zeros, 10, &err), 1);
	cache_body_unref(body);
	assert_int_equal(cache_body_get(cache, &key, &body, &err), 0);
	assert_int_equal(cache_body_get(cache, &streamed, &body, &err), 0);
	cache_stats(cache, &stats);
	assert_int_equal(stats.messages, 0);
	cache_close(cache);
}

static void clear_forgets_bodies_only(void **state)
{
	struct cache *cache = help_open(*state, 0), *other = help_open(*state, 0);
	struct cache_key mine = {1, 7, 1, false}, theirs = {1, 7, 2, false};
	struct cache_batch *batch = cache_batch_new(cache, 1);
	struct cache_stats stats;
	struct cache_body *body;
	struct error err;

	cache_batch_put(batch, &(struct cache_message){.uid = 1});
	cache_batch_submit(batch);
	help_put(cache, &mine);
	help_put(other, &theirs);
	cache_flush(cache);
	cache_flush(other);
	help_expect(cache, &theirs);
	assert_int_equal(cache_clear(cache, &err), 0);
	assert_int_equal(cache_body_get(cache, &mine, &body, &err), 0);
	assert_int_equal(cache_body_get(other, &theirs, &body, &err), 0);
	cache_stats(cache, &stats);
	assert_int_equal(stats.bytes + stats.messages + stats.segments, 0);
	assert_int_equal(help_files(cache, "seg-"), 0);
	assert_int_equal(rows_of(cache, 1).count, 1);
	/* both go on, in new segments */
	help_put(cache, &mine);
	help_put(other, &theirs);
	cache_close(cache);
	cache_close(other);
	cache = help_open(*state, 0);
	help_expect(cache, &mine);
	help_expect(cache, &theirs);
	cache_close(cache);
}

static void accounts_are_kept_apart(void **state)
{
	const struct {
		const char *host;
		uint16_t port;
		const char *user;
	} others[] = {{"imap.example.org", 993, "other"}, {"imap.example.org", 143, "user"},
		{"imap.example.com", 993, "user"}, {"imap.example.or", 993, "guser"}};
	struct cache *cache = help_open(*state, 0);
	struct cache_key key = {1, 7, 1, false};
	struct cache_body *body;
	struct error err;
	struct stat st;

	help_put(cache, &key);
	cache_flush(cache);
	assert_int_equal(stat(cache_path(cache), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(help_loose_files(cache), 0);
	for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
		struct cache *other;

		assert_int_equal(
			cache_open(*state, others[i].host, others[i].port, others[i].user, 0, &other, &err), 0);
		assert_string_not_equal(cache_path(other), cache_path(cache));
		assert_int_equal(cache_body_get(other, &key, &body, &err), 0);
		cache_close(other);
	}
	cache_close(cache);
	/* hosts have no case, users may */
	assert_int_equal(cache_open(*state, "IMAP.Example.ORG", 993, "user", 0, &cache, &err), 0);
	help_expect(cache, &key);
	cache_close(cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, place_setup, place_teardown)
		TEST(traits_come_back),
		TEST(folders_come_back),
		TEST(numbers_are_kept_and_never_clash),
		TEST(messages_follow_batches),
		TEST(a_cleared_listing_counts_as_unknown),
		TEST(bodies_come_back),
		TEST(an_empty_body_is_one),
		TEST(hits_are_timed),
		TEST(the_first_body_stays),
		TEST(uids_include_what_is_queued),
		TEST(own_file_above_its_size),
		TEST(streams_are_read_while_they_come),
		TEST(a_stream_of_another_length_fails),
		TEST(eviction_keeps_the_bound_and_the_newest),
		TEST(larger_than_the_limit_is_read_but_not_kept),
		TEST(clear_forgets_bodies_only),
		TEST(accounts_are_kept_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
