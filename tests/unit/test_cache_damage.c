/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files of the cache damaged at random, from a seed that a failure names: bytes, cuts, holes, what a power cut leaves.
 * The next open comes up; what it gives is what was stored, or nothing.
 */
#include "src/cache/cache.h"
#include "tests/unit/cache_help.h"

#include <sqlite3.h>
#include <stdio.h>
#include <sys/wait.h>

#include "src/base/banned.h"

#define ROUNDS EFFORT(70) /* MAILTREE_TEST_ROUNDS: another number, for who has the time */
#define FOLDERS 2u
#define MESSAGES 60u
#define FILES_MAX 8

/* What is stored, closed in order or as a crash leaves it: each file's content. */
struct image {
	char *names[FILES_MAX];
	GBytes *contents[FILES_MAX];
	int count;
};

struct rows {
	const struct cache_folder *folder;
	uint32_t seen;
	bool wrong;
};

static uint32_t size_of(uint32_t uid)
{
	return 1000 + uid * 37;
}

static char *stem_of(uint32_t folder, uint32_t uid)
{
	return g_strdup_printf("ada@engine.example_mail-%u-of-folder-%u", uid, folder);
}

static struct cache_folder folder_of(uint32_t id)
{
	static const char *const names[] = {"", "INBOX", "Archive"};

	return (struct cache_folder){.id = id,
		.name = (char *)names[id],
		.uidvalidity = 7,
		.uidnext = MESSAGES + 1,
		.messages = MESSAGES,
		.highestmodseq = 900 + id,
		.checked_at = 1700000000,
		.mtime = 1600000000,
		.number = 4711 + id,
		.message_number = 815 + id,
		.delimiter = '/'};
}

/* The last folder's messages had other numbers when they were fetched: its rows bear other keys than their records. */
static void fetch_under_other_numbers(struct cache *cache, uint32_t id)
{
	struct cache_folder folder = folder_of(id);
	struct cache_batch *batch = cache_batch_new(cache, id);

	folder.uidvalidity = 6;
	for (uint32_t uid = 1; uid <= MESSAGES; uid++) {
		struct cache_key key = {id, 6, MESSAGES + 1 - uid, false}, now = {id, 7, uid, false};
		GBytes *bytes = help_bytes(&now, size_of(uid));
		g_autofree char *emailid = stem_of(id, uid);
		struct cache_identity identity;

		cache_batch_put(batch, &(struct cache_message){.uid = key.uid, .stem = "s", .emailid = emailid});
		cache_identity_of(emailid, size_of(uid), &identity);
		cache_body_unref(cache_body_put_identified(cache, &key, bytes, &identity));
		g_bytes_unref(bytes);
	}
	cache_batch_folder(batch, &folder);
	cache_batch_submit(batch);
}

static void adopt(struct cache_batch *batch, uint32_t id)
{
	GArray *named = g_array_new(FALSE, FALSE, sizeof(struct cache_named));

	for (uint32_t uid = 1; uid <= MESSAGES; uid++) {
		g_autofree char *emailid = stem_of(id, uid);
		struct cache_named each = {.uid = uid};

		cache_identity_of(emailid, size_of(uid), &each.identity);
		g_array_append_val(named, each);
	}
	cache_batch_adopt(batch, 7, named);
}

static void store(struct cache *cache)
{
	for (uint32_t id = 1; id <= FOLDERS; id++) {
		struct cache_folder folder = folder_of(id);
		struct cache_batch *batch = cache_batch_new(cache, id);
		struct error err;
		uint32_t got;

		assert_int_equal(cache_folder_id(cache, folder.name, &got, &err), 0);
		assert_int_equal(got, id);
		if (id == FOLDERS) {
			fetch_under_other_numbers(cache, id);
			cache_batch_renumber(batch);
		}
		for (uint32_t uid = 1; uid <= MESSAGES; uid++) {
			g_autofree char *stem = stem_of(id, uid);

			cache_batch_put(batch,
				&(struct cache_message){
					.uid = uid, .size_bytes = size_of(uid), .size_exact = true, .stem = stem});
		}
		if (id == FOLDERS)
			adopt(batch, id);
		cache_batch_folder(batch, &folder);
		cache_batch_submit(batch);
		for (uint32_t uid = 1; id != FOLDERS && uid <= MESSAGES; uid++) {
			struct cache_key key = {id, 7, uid, false};

			help_put_sized(cache, &key, size_of(uid));
		}
	}
	cache_trait_put(cache, "sizes.confirmed", "17");
	cache_flush(cache);
}

static void image_take(struct image *image, const char *dir)
{
	GDir *listing = g_dir_open(dir, 0, NULL);

	assert_non_null(listing);
	for (const char *name; (name = g_dir_read_name(listing));) {
		g_autofree char *path = g_build_filename(dir, name, NULL);
		char *content;
		gsize length;

		assert_in_range(image->count, 0, FILES_MAX - 1);
		assert_true(g_file_get_contents(path, &content, &length, NULL));
		image->names[image->count] = g_strdup(name);
		image->contents[image->count++] = g_bytes_new_take(content, length);
	}
	g_dir_close(listing);
}

static void image_free(struct image *image)
{
	for (int i = 0; i < image->count; i++) {
		g_free(image->names[i]);
		g_bytes_unref(image->contents[i]);
	}
}

static void forget_boot(const char *dir)
{
	g_autofree char *index = g_build_filename(dir, "index.db", NULL);
	sqlite3 *db;

	assert_int_equal(sqlite3_open(index, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "UPDATE segment SET boot = 'before'", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

/* Of a process that was killed: with its log, and without the closing. */
static char *image_new(const char *dir, bool killed, struct image *image)
{
	struct cache *cache = help_open(dir, 0);
	char *path = g_strdup(cache_path(cache));

	store(cache);
	if (killed) {
		forget_boot(path);
		image_take(image, path);
	}
	cache_close(cache);
	if (!killed)
		image_take(image, path);
	return path;
}

/* ---- damage ---- */

static void bytes_at_random(GRand *rand, GByteArray *bytes)
{
	for (int spots = g_rand_int_range(rand, 1, 4); spots && bytes->len; spots--) {
		guint at = (guint)g_rand_int_range(rand, 0, (gint32)bytes->len);
		guint end = at + (guint)g_rand_int_range(rand, 1, 65);

		for (; at < MIN(end, bytes->len); at++)
			bytes->data[at] ^= (guint8)(g_rand_boolean(rand) ? g_rand_int_range(rand, 0, 256)
									 : 1 << g_rand_int_range(rand, 0, 8));
	}
}

static void tail_lost(GRand *rand, GByteArray *bytes)
{
	guint kept = bytes->len ? (guint)g_rand_int_range(rand, 0, (gint32)bytes->len) : 0;

	if (g_rand_boolean(rand))
		g_byte_array_set_size(bytes, kept);
	else
		memset(bytes->data + kept, 0, bytes->len - kept);
}

static bool is_data(const char *name)
{
	return g_str_has_prefix(name, "index.db") || g_str_has_prefix(name, "seg-");
}

/* After a power cut what was written last is missing; pages of the index itself are synced before its log is reset. */
static bool is_tail(const char *name)
{
	return g_str_has_suffix(name, "-wal") || g_str_has_prefix(name, "seg-");
}

static void put_back(const struct image *image, const char *dir, GRand *rand, bool power_cut)
{
	int victim = g_rand_int_range(rand, 0, image->count);

	while (!is_data(image->names[victim]))
		victim = (victim + 1) % image->count;
	for (int i = 0; i < image->count; i++) {
		g_autofree char *path = g_build_filename(dir, image->names[i], NULL);
		GByteArray *bytes = g_bytes_unref_to_array(g_bytes_ref(image->contents[i]));

		/* a reference is held: it was copied */
		if (power_cut && is_tail(image->names[i]))
			tail_lost(rand, bytes);
		if (!power_cut && i == victim)
			bytes_at_random(rand, bytes);
		assert_true(g_file_set_contents_full(
			path, (const char *)bytes->data, bytes->len, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
		g_byte_array_unref(bytes);
		if (!power_cut && i == victim && g_rand_int_range(rand, 0, 20) == 0)
			assert_int_equal(unlink(path), 0);
	}
}

static void empty(const char *dir)
{
	help_remove(dir);
	assert_int_equal(mkdir(dir, 0700), 0);
}

/* ---- what is there afterwards ---- */

static void check_message(void *ctx, const struct cache_message *message)
{
	struct rows *rows = ctx;
	g_autofree char *stem = stem_of(rows->folder->id, message->uid);

	rows->seen++;
	rows->wrong |= message->uid != rows->seen || message->size_bytes != size_of(message->uid) ||
	               !message->size_exact || g_strcmp0(message->stem, stem) != 0;
}

static void check_folder(void *ctx, const struct cache_folder *folder)
{
	struct cache_folder wanted = folder_of(folder->id <= FOLDERS ? folder->id : 0);
	struct rows rows = {.folder = folder};
	struct error err;

	if (!folder->checked_at)
		return;
	assert_in_range(folder->id, 1, FOLDERS);
	assert_string_equal(folder->name, wanted.name);
	assert_int_equal(folder->checked_at, wanted.checked_at);
	assert_int_equal(folder->uidvalidity, wanted.uidvalidity);
	assert_int_equal(folder->uidnext, wanted.uidnext);
	assert_int_equal(folder->highestmodseq, wanted.highestmodseq);
	assert_int_equal(folder->number, wanted.number);
	assert_int_equal(folder->message_number, wanted.message_number);
	assert_int_equal(cache_messages_load(ctx, folder->id, check_message, &rows, &err), 0);
	assert_false(rows.wrong);
	assert_int_equal(rows.seen, MESSAGES);
}

static unsigned check_bodies(struct cache *cache)
{
	unsigned found = 0;

	for (uint32_t id = 1; id <= FOLDERS; id++) {
		struct cache_folder folder = folder_of(id);
		struct error err;
		uint32_t now;

		assert_int_equal(cache_folder_id(cache, folder.name, &now, &err), 0);
		for (uint32_t uid = 1; uid <= MESSAGES; uid++) {
			struct cache_key key = {now, 7, uid, false}, stored = {id, 7, uid, false};
			struct cache_body *body = NULL;

			if (cache_body_get(cache, &key, &body, &err) != 1)
				continue;
			assert_true(help_body_is(&stored, body, size_of(uid)));
			cache_body_unref(body);
			found++;
		}
	}
	return found;
}

static unsigned check(const char *dir)
{
	struct cache_key fresh = {1, 7, 5000, false};
	struct cache *cache = help_open(dir, 0);
	g_autofree char *trait = cache_trait_get(cache, "sizes.confirmed");
	uint64_t checked;
	unsigned found;
	struct error err;

	assert_true(!trait || strcmp(trait, "17") == 0);
	assert_int_equal(cache_folders_load(cache, check_folder, cache, &err), 0);
	found = check_bodies(cache);
	help_put(cache, &fresh);
	cache_flush(cache);
	help_expect(cache, &fresh);
	/* what was damaged and not asked for yet */
	assert_true(cache_verify(cache, &checked, &err) >= 0);
	assert_int_equal(cache_verify(cache, &checked, &err), 0);
	cache_close(cache);
	cache = help_open(dir, 0);
	assert_int_equal(check_bodies(cache), found);
	assert_int_equal(cache_verify(cache, &checked, &err), 0);
	cache_close(cache);
	return found;
}

static void rounds(const char *dir, bool killed, bool power_cut)
{
	struct image image = {0};
	g_autofree char *path = image_new(dir, killed, &image);
	const char *wanted = g_getenv("MAILTREE_TEST_ROUNDS");
	guint32 count = wanted ? (guint32)g_ascii_strtoull(wanted, NULL, 10) : ROUNDS;
	unsigned found = 0;

	for (guint32 seed = 1; seed <= count; seed++) {
		GRand *rand = g_rand_new_with_seed(seed);

		printf("seed %u\n", seed);
		empty(path);
		put_back(&image, path, rand, power_cut);
		found += check(dir);
		g_rand_free(rand);
	}
	image_free(&image);
	printf("%u of %u bodies were found\n", found, count * FOLDERS * MESSAGES);
	/* much is still of use; a log that was cut often ends before any row of a body */
	assert_true(found > count * FOLDERS * MESSAGES / (power_cut ? 20 : 2));
}

static int setup(void **state)
{
	*state = help_dir_new();
	return 0;
}

static int teardown(void **state)
{
	help_dir_free(*state);
	return 0;
}

static void test_random_bytes_after_a_clean_end(void **state)
{
	rounds(*state, false, false);
}

static void test_random_bytes_after_a_kill(void **state)
{
	rounds(*state, true, false);
}

static void test_power_cuts(void **state)
{
	rounds(*state, true, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random_bytes_after_a_clean_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random_bytes_after_a_kill, setup, teardown),
		cmocka_unit_test_setup_teardown(test_power_cuts, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
