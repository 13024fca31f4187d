/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cache when things go wrong: several processes, killed ones, damage, no room; and many threads at once. */
#include "src/base/loop.h"
#include "src/cache/cache.h"
#include "tests/unit/cache_help.h"

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "src/base/banned.h"

#define KILLS EFFORT(20)

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

static struct cache_key key_of(uint32_t folder, uint32_t uid)
{
	return (struct cache_key){folder, 7, uid, false};
}

static bool is_cached(struct cache *cache, const struct cache_key *key)
{
	struct cache_body *body = NULL;
	struct error err;

	if (cache_body_get(cache, key, &body, &err) != 1)
		return false;
	cache_body_unref(body);
	return true;
}

/* ---- processes ---- */

/* Runs fn in a process of its own; it ends with fn's result. */
static pid_t in_child(int (*fn)(const char *dir, int number), const char *dir, int number)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fn(dir, number));
	return pid;
}

static void expect_success(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int write_many(const char *dir, int number)
{
	struct cache *cache;
	struct error err;
	int wrong = 0;

	if (cache_open(dir, "imap.example.org", 993, "user", 0, &cache, &err) != 0)
		return 1;
	for (uint32_t i = 0; i < 50; i++) {
		g_autofree char *name = g_strdup_printf("folder%u", i);
		uint32_t id, again, inode;

		wrong |= cache_folder_id(cache, name, &id, &err) || cache_folder_id(cache, name, &again, &err) ||
		         id != again || cache_number(cache, name, 1000, &inode, &err);
	}
	for (uint32_t uid = 1; uid <= 1500; uid++) {
		struct cache_key own = key_of((uint32_t)number, uid), shared = key_of(9, uid);
		struct cache_batch *batch = cache_batch_new(cache, (uint32_t)number);

		help_put_sized(cache, &own, 3000);
		help_put_sized(cache, &shared, 500);
		cache_batch_put(batch, &(struct cache_message){.uid = uid, .stem = "s"});
		cache_batch_submit(batch);
	}
	cache_close(cache);
	return wrong;
}

static void count_message(void *ctx, const struct cache_message *message)
{
	++*(unsigned *)ctx;
}

static void two_processes_write_at_once(void **state)
{
	pid_t first = in_child(write_many, *state, 1), second = in_child(write_many, *state, 2);
	GHashTable *seen = g_hash_table_new(NULL, NULL);
	struct cache *cache;
	struct cache_stats stats;
	uint64_t checked;
	struct error err;

	expect_success(first);
	expect_success(second);
	cache = help_open(*state, 0);
	cache_stats(cache, &stats);
	assert_int_equal(stats.messages, 4500);
	for (uint32_t uid = 1; uid <= 1500; uid++) {
		struct cache_key keys[] = {key_of(1, uid), key_of(2, uid), key_of(9, uid)};

		help_expect_sized(cache, &keys[0], 3000);
		help_expect_sized(cache, &keys[1], 3000);
		help_expect_sized(cache, &keys[2], 500);
	}
	for (uint32_t folder = 1; folder <= 2; folder++) {
		unsigned rows = 0;

		assert_int_equal(cache_messages_load(cache, folder, count_message, &rows, &err), 0);
		assert_int_equal(rows, 1500);
	}
	for (uint32_t i = 0; i < 50; i++) {
		g_autofree char *name = g_strdup_printf("folder%u", i);
		uint32_t number;

		assert_int_equal(cache_number(cache, name, 1, &number, &err), 0);
		assert_true(g_hash_table_add(seen, GUINT_TO_POINTER(number)));
	}
	assert_int_equal(cache_verify(cache, &checked, &err), 0);
	assert_int_equal(checked, 4500);
	g_hash_table_unref(seen);
	cache_close(cache);
}

static int ready_pipe[2];

/* Says when something is stored, and goes on. */
static int write_for_ever(const char *dir, int number)
{
	struct cache *cache;
	struct error err;

	if (cache_open(dir, "imap.example.org", 993, "user", 16u << 20, &cache, &err) != 0)
		return 1;
	for (uint32_t uid = (uint32_t)number * 100000;; uid++) {
		struct cache_key key = key_of(1, uid);
		struct cache_stream *stream;
		struct cache_body *body;

		help_put(cache, &key);
		if (uid % 50 == 0)
			cache_body_drop(cache, &key);
		if (uid % 100000 == 30) {
			cache_flush(cache);
			if (write(ready_pipe[1], "", 1) != 1)
				return 1;
		}
		if (uid % 20)
			continue;
		key.folder = 2;
		if (cache_stream_open(cache, &key, 4, &stream, &err) == 0 &&
			cache_stream_write(stream, "four", 4, &err) == 0 &&
			cache_stream_commit(stream, &body, &err) == 0)
			cache_body_unref(body);
	}
}

static uint64_t compare_all(struct cache *cache)
{
	GArray *uids = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	uint64_t count = 0;
	struct error err;

	assert_int_equal(cache_body_uids(cache, 1, 7, false, uids, &err), 0);
	for (guint i = 0; i < uids->len; i++) {
		struct cache_key key = key_of(1, g_array_index(uids, uint32_t, i));

		help_expect(cache, &key);
		count++;
	}
	g_array_unref(uids);
	return count;
}

static void killed_writers_leave_a_usable_cache(void **state)
{
	uint64_t compared = 0, checked;
	struct error err;

	assert_int_equal(pipe(ready_pipe), 0);
	for (int i = 1; i <= KILLS; i++) {
		pid_t pid = in_child(write_for_ever, *state, i);
		struct cache_stats stats;
		struct cache *cache;
		char byte;

		assert_int_equal(read(ready_pipe[0], &byte, 1), 1);
		/* at another point each time */
		g_usleep((gulong)(15000 * (i % 8)));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		cache = help_open(*state, 16u << 20);
		compared += compare_all(cache);
		assert_int_equal(cache_verify(cache, &checked, &err), 0);
		cache_stats(cache, &stats);
		assert_int_equal(stats.dropped, 0);
		/* what had no row yet is given back */
		assert_int_equal(help_files(cache, "tmp-"), 0);
		assert_int_equal(help_bytes_on_disk(cache), stats.bytes);
		cache_close(cache);
	}
	close(ready_pipe[0]);
	close(ready_pipe[1]);
	assert_true(compared > 100);
}

/* ---- damage ---- */

static char *file_in(const char *dir, const char *file)
{
	struct cache *cache = help_open(dir, 0);
	char *path = g_build_filename(cache_path(cache), file, NULL);

	cache_close(cache);
	return path;
}

static void fill(const char *dir, uint32_t *folder_out)
{
	struct cache *cache = help_open(dir, 0);
	struct error err;

	assert_int_equal(cache_folder_id(cache, "Lists/first", folder_out, &err), 0);
	assert_int_equal(cache_folder_id(cache, "Lists/second", folder_out, &err), 0);
	for (uint32_t uid = 1; uid <= 200; uid++) {
		struct cache_key key = key_of(*folder_out, uid);

		help_put(cache, &key);
	}
	cache_close(cache);
}

static void scribble(const char *path, off_t offset, size_t length)
{
	g_autofree char *noise = g_malloc(length);
	int fd = open(path, O_WRONLY);

	memset(noise, 0x5a, length);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, noise, length, offset), (ssize_t)length);
	close(fd);
}

static void expect_rebuilt(const char *dir, uint32_t folder, uint64_t count)
{
	struct cache *cache = help_open(dir, 0);
	struct cache_stats stats;
	uint32_t id;
	struct error err;

	assert_int_equal(cache_folder_id(cache, "Lists/second", &id, &err), 0);
	assert_int_equal(id, folder);
	/* an id that bodies may carry isn't given to another name */
	assert_int_equal(cache_folder_id(cache, "Lists/third", &id, &err), 0);
	assert_true(id > folder);
	cache_stats(cache, &stats);
	assert_int_equal(stats.messages, count);
	for (uint32_t uid = 1; uid <= 200; uid++) {
		struct cache_key key = key_of(folder, uid);

		if (is_cached(cache, &key))
			help_expect(cache, &key);
		else
			count++;
	}
	assert_int_equal(count, 200);
	assert_int_equal(help_files(cache, "index.damaged-"), 1);
	cache_close(cache);
}

static void damaged_indexes_are_rebuilt(void **state)
{
	g_autofree char *index = file_in(*state, "index.db");
	uint32_t folder;
	sqlite3 *db;

	fill(*state, &folder);
	scribble(index, 0, 64);
	expect_rebuilt(*state, folder, 200);
	scribble(index, 100, 200);
	expect_rebuilt(*state, folder, 200);
	assert_int_equal(truncate(index, 5000), 0);
	expect_rebuilt(*state, folder, 200);
	assert_int_equal(sqlite3_open(index, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	expect_rebuilt(*state, folder, 200);
}

static void damage_seen_while_running_waits_for_the_next_open(void **state)
{
	g_autofree char *index = file_in(*state, "index.db");
	struct cache_key key;
	struct cache *cache;
	uint32_t folder;
	struct stat st;

	fill(*state, &folder);
	assert_int_equal(stat(index, &st), 0);
	key = key_of(folder, 1);
	cache = help_open(*state, 0);
	/* all but the first two pages */
	scribble(index, 8192, (size_t)st.st_size - 8192);
	for (uint32_t uid = 1; uid <= 300; uid++) {
		struct cache_key each = key_of(folder, uid);

		help_put(cache, &each);
		help_expect(cache, &each);
	}
	cache_flush(cache);
	help_expect(cache, &key); /* from memory */
	cache_close(cache);
	expect_rebuilt(*state, folder, 200);
}

static void what_was_dropped_is_not_rebuilt(void **state)
{
	g_autofree char *index = file_in(*state, "index.db");
	struct cache_batch *batch;
	struct cache_key key;
	struct cache *cache;
	uint32_t folder;

	fill(*state, &folder);
	cache = help_open(*state, 0);
	key = key_of(folder, 3);
	cache_body_drop(cache, &key);
	batch = cache_batch_new(cache, folder);
	cache_batch_drop(batch, 4);
	cache_batch_submit(batch);
	cache_close(cache);
	scribble(index, 0, 64);
	expect_rebuilt(*state, folder, 198);
	cache = help_open(*state, 0);
	batch = cache_batch_new(cache, folder);
	cache_batch_clear(batch);
	cache_batch_submit(batch);
	key = key_of(folder, 5);
	help_put(cache, &key);
	cache_close(cache);
	scribble(index, 0, 64);
	expect_rebuilt(*state, folder, 1);
}

/* As after a power cut: nothing was synced, and the machine has started anew. */
static void pretend_another_boot(const char *index)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(index, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(db, "UPDATE segment SET boot = 'before', synced = 0", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void place_of(const char *index, const struct cache_key *key, char **name_out, off_t *offset_out)
{
	g_autofree char *dir = g_path_get_dirname(index);
	sqlite3_stmt *query;
	sqlite3 *db;

	assert_int_equal(sqlite3_open(index, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT segment, offset FROM body WHERE folder = ?1 AND uid = ?2", -1,
				 &query, NULL),
		SQLITE_OK);
	sqlite3_bind_int64(query, 1, key->folder);
	sqlite3_bind_int64(query, 2, key->uid);
	assert_int_equal(sqlite3_step(query), SQLITE_ROW);
	*name_out = g_strdup_printf("%s/seg-%08x.mt", dir, (unsigned)sqlite3_column_int64(query, 0));
	*offset_out = (off_t)sqlite3_column_int64(query, 1);
	sqlite3_finalize(query);
	sqlite3_close(db);
}

static void what_was_not_synced_is_checked_once(void **state)
{
	g_autofree char *index = file_in(*state, "index.db");
	g_autofree char *segment = NULL;
	struct cache_key bad, torn, whole;
	struct cache_stats stats;
	struct cache *cache;
	uint32_t folder;
	off_t offset;

	fill(*state, &folder);
	bad = key_of(folder, 17);
	torn = key_of(folder, 18);
	whole = key_of(folder, 19);
	pretend_another_boot(index);
	place_of(index, &bad, &segment, &offset);
	scribble(segment, offset + 64 + 1, 1);
	g_clear_pointer(&segment, g_free);
	place_of(index, &torn, &segment, &offset);
	scribble(segment, offset + 16, 1);
	cache = help_open(*state, 0);
	assert_false(is_cached(cache, &bad));
	assert_false(is_cached(cache, &torn));
	help_expect(cache, &whole);
	cache_stats(cache, &stats);
	assert_int_equal(stats.dropped, 2);
	/* fetched again, it is as good as any */
	help_put(cache, &bad);
	cache_flush(cache);
	help_expect(cache, &bad);
	cache_close(cache);
	cache = help_open(*state, 0);
	help_expect(cache, &bad);
	help_expect(cache, &whole);
	cache_close(cache);
}

static void verify_drops_what_is_damaged(void **state)
{
	g_autofree char *index = file_in(*state, "index.db");
	g_autofree char *segment = NULL;
	struct cache_key bad;
	struct cache *cache;
	uint64_t checked;
	uint32_t folder;
	struct error err;
	off_t offset;

	fill(*state, &folder);
	bad = key_of(folder, 100);
	place_of(index, &bad, &segment, &offset);
	scribble(segment, offset + 64 + 2, 1);
	cache = help_open(*state, 0);
	assert_int_equal(cache_verify(cache, &checked, &err), 1);
	assert_int_equal(checked, 200);
	assert_false(is_cached(cache, &bad));
	assert_int_equal(cache_verify(cache, &checked, &err), 0);
	assert_int_equal(checked, 199);
	cache_close(cache);
}

static void missing_and_cut_segments_are_misses(void **state)
{
	g_autofree char *index = file_in(*state, "index.db");
	g_autofree char *segment = NULL;
	struct cache_key first, last;
	struct cache *cache;
	uint32_t folder;
	off_t offset;

	fill(*state, &folder);
	first = key_of(folder, 1);
	last = key_of(folder, 200);
	place_of(index, &last, &segment, &offset);
	cache = help_open(*state, 0);
	assert_int_equal(truncate(segment, offset + 64 + 1), 0);
	help_expect(cache, &first);
	assert_false(is_cached(cache, &last));
	cache_close(cache);
	assert_int_equal(unlink(segment), 0);
	cache = help_open(*state, 0);
	assert_false(is_cached(cache, &first));
	help_put(cache, &first);
	cache_flush(cache);
	help_expect(cache, &first);
	cache_close(cache);
}

/* Many at once need more connections than are open. */
static void *get_often(void *data)
{
	struct cache *cache = *(struct cache **)data;
	struct cache_key key = key_of(1, 1);

	for (int i = 0; i < 2000; i++)
		if (is_cached(cache, &key))
			return data;
	return NULL;
}

static void an_index_replaced_under_us_is_not_believed(void **state)
{
	pthread_t threads[8];
	struct cache *cache = help_open(*state, 0), *other;
	g_autofree char *suspect = g_build_filename(cache_path(cache), "index.suspect", NULL);
	struct cache_key key = key_of(1, 1);
	struct error err;
	uint32_t id;

	assert_int_equal(cache_folder_id(cache, "mine", &id, &err), 0);
	assert_true(g_file_set_contents(suspect, "", 0, NULL));
	other = help_open(*state, 0);
	assert_int_equal(cache_folder_id(other, "theirs", &id, &err), 0);
	assert_int_equal(id, key.folder);
	help_put(other, &key);
	cache_flush(other);
	/* the same id is another folder there; ours has it from no one */
	for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, get_often, &cache), 0);
	for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
		void *found;

		pthread_join(threads[i], &found);
		assert_null(found);
	}
	help_expect(other, &key);
	cache_close(cache);
	help_expect(other, &key);
	cache_close(other);
}

/* ---- no room ---- */

static void note_folder(void *ctx, const struct cache_folder *folder)
{
	*(struct cache_folder *)ctx = *folder;
}

static int write_without_room(const char *dir, int number)
{
	struct rlimit limit = {400 * 1024, 400 * 1024};
	struct cache_folder folder = {.id = 1, .name = (char *)"INBOX", .checked_at = 1};
	struct cache_stream *stream;
	struct cache_body *body;
	struct cache_batch *batch;
	struct cache *cache;
	struct error err;
	int wrong = 0;

	if (cache_open(dir, "imap.example.org", 993, "user", 0, &cache, &err) != 0)
		return 1;
	cache_folder_put(cache, &folder);
	cache_flush(cache);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	for (uint32_t uid = 1; uid <= 200; uid++) {
		struct cache_key key = key_of(1, uid);
		GBytes *bytes = help_bytes(&key, 20000);

		body = cache_body_put(cache, &key, bytes);
		wrong |= !help_body_is(&key, body, 20000);
		cache_body_unref(body);
		g_bytes_unref(bytes);
	}
	cache_flush(cache);
	/* kept in memory as far as that goes */
	for (uint32_t uid = 1; uid <= 200; uid++) {
		struct cache_key key = key_of(1, uid);

		wrong |= !is_cached(cache, &key);
	}
	/* a listing of which the last part alone would fit */
	for (uint32_t part = 0; part < 6; part++) {
		batch = cache_batch_new(cache, 1);
		for (uint32_t uid = 1; uid <= (part == 5 ? 1 : 2000); uid++) {
			g_autofree char *text = g_strnfill(200, 'x');

			cache_batch_put(batch, &(struct cache_message){.uid = part * 10000 + uid, .subject = text});
		}
		folder.checked_at = 2;
		if (part == 5)
			cache_batch_folder(batch, &folder);
		cache_batch_submit(batch);
		cache_flush(cache);
	}
	if (cache_stream_open(cache, &(struct cache_key){1, 7, 999, false}, 1u << 20, &stream, &err) == 0) {
		g_autofree char *large = g_malloc0(1u << 20);

		wrong |= cache_stream_write(stream, large, 1u << 20, &err) != ERR_STORAGE;
		cache_stream_abort(stream);
	}
	cache_close(cache);
	return wrong;
}

static void no_room_is_no_failure(void **state)
{
	struct cache_folder folder = {0};
	struct cache *cache;
	uint64_t checked;
	struct error err;

	expect_success(in_child(write_without_room, *state, 0));
	cache = help_open(*state, 0);
	assert_int_equal(cache_verify(cache, &checked, &err), 0);
	/* rows were lost, so the listing isn't called complete */
	assert_int_equal(cache_folders_load(cache, note_folder, &folder, &err), 0);
	assert_int_equal(folder.checked_at, 1);
	cache_close(cache);
}

static int name_without_room(const char *dir, int number)
{
	struct rlimit limit = {0, 0};
	struct cache *cache;
	struct error err;
	uint32_t ids[20], stored;
	int wrong = 0;

	if (cache_open(dir, "imap.example.org", 993, "user", 0, &cache, &err) != 0)
		return 1;
	wrong |= cache_folder_id(cache, "stored", &stored, &err) != 0;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	for (uint32_t i = 0; i < G_N_ELEMENTS(ids); i++) {
		g_autofree char *name = g_strdup_printf("folder%u", i);
		struct cache_key key;

		wrong |= cache_folder_id(cache, name, &ids[i], &err) == 0;
		key = key_of(ids[i], 1);
		for (uint32_t before = 0; before < i; before++)
			wrong |= ids[before] == ids[i];
		wrong |= ids[i] == stored || is_cached(cache, &key);
		help_put(cache, &key);
	}
	cache_flush(cache);
	for (uint32_t i = 0; i < G_N_ELEMENTS(ids); i++) {
		struct cache_key key = key_of(ids[i], 1);

		help_expect(cache, &key);
	}
	cache_close(cache);
	return wrong;
}

/* The id of the folder that was stored last was given to those that couldn't be: they showed its mail. */
static void folders_without_room_keep_apart(void **state)
{
	struct cache_stats stats;
	struct cache *cache;

	expect_success(in_child(name_without_room, *state, 0));
	cache = help_open(*state, 0);
	cache_stats(cache, &stats);
	assert_int_equal(stats.messages, 0);
	cache_close(cache);
}

static void expect_in_memory(const char *dir)
{
	struct cache *cache = help_open(dir, 0);
	struct cache_key key = key_of(1, 1), streamed = key_of(1, 2);
	struct cache_folder folder = {.name = (char *)"INBOX", .checked_at = 5}, found = {0};
	struct cache_batch *batch;
	struct cache_stream *stream;
	struct cache_stats stats;
	struct cache_body *body;
	unsigned rows = 0;
	uint32_t number;
	struct error err;

	assert_int_equal(cache_folder_id(cache, "INBOX", &folder.id, &err), 0);
	assert_int_equal(cache_number(cache, "INBOX", 7, &number, &err), 0);
	assert_int_equal(number, 7);
	batch = cache_batch_new(cache, folder.id);
	cache_batch_put(batch, &(struct cache_message){.uid = 1});
	cache_batch_folder(batch, &folder);
	cache_batch_submit(batch);
	cache_flush(cache);
	assert_int_equal(cache_folders_load(cache, note_folder, &found, &err), 0);
	assert_int_equal(found.checked_at, 5);
	assert_int_equal(cache_messages_load(cache, folder.id, count_message, &rows, &err), 0);
	assert_int_equal(rows, 1);
	help_put(cache, &key);
	help_expect(cache, &key);
	assert_int_equal(cache_stream_open(cache, &streamed, 3, &stream, &err), 0);
	assert_int_equal(cache_stream_write(stream, "abc", 3, &err), 0);
	assert_int_equal(cache_stream_commit(stream, &body, &err), 0);
	cache_body_unref(body);
	assert_true(is_cached(cache, &streamed));
	/* bounded, the latest stay */
	for (uint32_t uid = 10; uid < 50; uid++) {
		key = key_of(1, uid);
		help_put_sized(cache, &key, 1u << 20);
	}
	help_expect_sized(cache, &key, 1u << 20);
	cache_stats(cache, &stats);
	assert_in_range(stats.bytes, 16u << 20, 32u << 20);
	assert_int_equal(cache_clear(cache, &err), 0);
	assert_false(is_cached(cache, &key));
	cache_close(cache);
}

static void without_a_directory_it_works_in_memory(void **state)
{
	g_autofree char *file = g_build_filename(*state, "file", NULL);
	g_autofree char *beneath = g_build_filename(file, "cache", NULL);

	assert_true(g_file_set_contents(file, "x", 1, NULL));
	expect_in_memory(file);
	expect_in_memory(beneath);
}

static void a_directory_of_others_is_refused(void **state)
{
	struct cache *cache = help_open(*state, 0);
	g_autofree char *path = g_strdup(cache_path(cache));
	g_autofree char *moved = g_strconcat(path, "-moved", NULL);
	g_autofree char *identity = g_build_filename(path, "identity", NULL);
	struct cache_key key = key_of(1, 1);

	help_put(cache, &key);
	cache_close(cache);
	chmod(path, 0770);
	expect_in_memory(*state);
	chmod(path, 0700);
	cache = help_open(*state, 0);
	help_expect(cache, &key);
	cache_close(cache);
	/* another account's, by a clash or a copy */
	assert_true(g_file_set_contents(identity, "host x\n", -1, NULL));
	expect_in_memory(*state);
	assert_int_equal(unlink(identity), 0);
	assert_int_equal(rename(path, moved), 0);
	assert_int_equal(symlink(moved, path), 0);
	expect_in_memory(*state);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rename(moved, path), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 12345, 12345), 0);
		expect_in_memory(*state);
	}
}

/* ---- threads ---- */

struct crowd {
	struct cache *cache;
	atomic_uint highest;
	atomic_bool stop;
	atomic_ulong wrong, hits;
};

static void *read_along(void *data)
{
	struct crowd *crowd = data;
	unsigned step = 0;

	while (!atomic_load(&crowd->stop)) {
		unsigned highest = atomic_load(&crowd->highest);
		struct cache_key key = key_of(1, highest ? 1 + (step++ * 7919u) % highest : 1);
		struct cache_body *body = NULL;
		struct error err;

		if (cache_body_get(crowd->cache, &key, &body, &err) != 1)
			continue;
		if (!help_body_is(&key, body, 2000))
			atomic_fetch_add(&crowd->wrong, 1);
		atomic_fetch_add(&crowd->hits, 1);
		cache_body_unref(body);
	}
	return NULL;
}

static void readers_beside_a_writer(void **state)
{
	struct crowd crowd = {.cache = help_open(*state, 4u << 20)};
	struct cache_batch *batch;
	pthread_t readers[8];
	struct error err;
	uint32_t number;

	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, read_along, &crowd), 0);
	for (uint32_t uid = 1; uid <= 6000; uid++) {
		struct cache_key key = key_of(1, uid);

		help_put_sized(crowd.cache, &key, 2000);
		atomic_store(&crowd.highest, uid);
		if (uid % 100 == 0) {
			g_autofree char *name = g_strdup_printf("n%u", uid);

			assert_int_equal(cache_number(crowd.cache, name, uid, &number, &err), 0);
			batch = cache_batch_new(crowd.cache, 2);
			cache_batch_put(batch, &(struct cache_message){.uid = uid});
			cache_batch_submit(batch);
			key.uid = uid / 2;
			cache_body_drop(crowd.cache, &key);
		}
		if (uid == 3000)
			assert_int_equal(cache_clear(crowd.cache, &err), 0);
	}
	cache_flush(crowd.cache);
	atomic_store(&crowd.stop, true);
	for (int i = 0; i < 8; i++)
		pthread_join(readers[i], NULL);
	assert_int_equal(atomic_load(&crowd.wrong), 0);
	assert_true(atomic_load(&crowd.hits) > 100);
	cache_close(crowd.cache);
}

/* More than the queue holds, put by one thread: it has to wait, and must go on. */
static void a_full_queue_gives_way(void **state)
{
	struct cache *cache = help_open(*state, 0);

	for (uint32_t uid = 1; uid <= 120; uid++) {
		struct cache_key key = key_of(1, uid);

		help_put_sized(cache, &key, 1u << 20);
	}
	for (uint32_t uid = 1; uid <= 120; uid++) {
		struct cache_key key = key_of(1, uid);

		assert_true(is_cached(cache, &key));
	}
	cache_close(cache);
}

/* A disk that doesn't answer must not stop the loop, which has readers and deadlines. */
static void a_stuck_disk_holds_nobody_up_for_long(void **state)
{
	struct cache *cache = help_open(*state, 0);
	g_autofree char *index = g_build_filename(cache_path(cache), "index.db", NULL);
	struct cache_key later = key_of(1, 100);
	uint64_t begin_ms = clock_ms();
	sqlite3 *db;

	assert_int_equal(sqlite3_open(index, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	for (uint32_t uid = 1; uid <= 20; uid++) {
		struct cache_key key = key_of(1, uid);

		help_put_sized(cache, &key, 1u << 20);
	}
	assert_in_range(clock_ms() - begin_ms, 1000, 4500);
	for (uint32_t uid = 1; uid <= 20; uid++) {
		struct cache_key key = key_of(1, uid);

		assert_true(is_cached(cache, &key));
	}
	assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	cache_flush(cache);
	help_put_sized(cache, &later, 1u << 20);
	cache_close(cache);
	cache = help_open(*state, 0);
	assert_true(is_cached(cache, &later));
	cache_close(cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, place_setup, place_teardown)
		TEST(two_processes_write_at_once),
		TEST(killed_writers_leave_a_usable_cache),
		TEST(damaged_indexes_are_rebuilt),
		TEST(damage_seen_while_running_waits_for_the_next_open),
		TEST(what_was_dropped_is_not_rebuilt),
		TEST(what_was_not_synced_is_checked_once),
		TEST(verify_drops_what_is_damaged),
		TEST(missing_and_cut_segments_are_misses),
		TEST(an_index_replaced_under_us_is_not_believed),
		TEST(no_room_is_no_failure),
		TEST(folders_without_room_keep_apart),
		TEST(without_a_directory_it_works_in_memory),
		TEST(a_directory_of_others_is_refused),
		TEST(readers_beside_a_writer),
		TEST(a_full_queue_gives_way),
		TEST(a_stuck_disk_holds_nobody_up_for_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
