/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bodies that outlive the numbers of their messages, in the cache: which do, which must not, and what a crash leaves.
 */
#include "src/cache/cache.h"
#include "tests/unit/cache_help.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/wait.h>

#include "src/base/banned.h"

#define FOLDER 1u
#define EMAILS 12u /* of the random tests */
#define ROUNDS EFFORT(40u)
#define STEPS 160u
#define KILLS 12
#define LF_EMAIL 1000u /* this much more: the same email with LF */
#define EMAILS_MAX 2000u

/* What a server tells of a message: `email` is what it is, and gives it its octets. */
struct told {
	uint32_t uid, email;
	const char *id;  /* NULL = the email's own; "" = none */
	uint64_t octets; /* 0 = as many as it has */
};

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

static GBytes *content(uint32_t email)
{
	struct cache_key key = {.folder = 77, .uid = email};

	return help_bytes(&key, 500 + email % 7 * 100);
}

static uint64_t octets_of(uint32_t email)
{
	return 500 + email % 7 * 100;
}

/* NULL = it has none; g_free it. */
static char *id_of(const struct told *told)
{
	return !told->id ? g_strdup_printf("M%u", told->email) : *told->id ? g_strdup(told->id) : NULL;
}

/* `octets` came from the server; what is kept of them is the content of `email`. */
static void put_as(struct cache *cache, const struct cache_key *key, uint32_t email, const char *id, uint64_t octets)
{
	GBytes *bytes = content(email);
	struct cache_identity identity;

	cache_identity_of(id, octets, &identity);
	cache_body_unref(cache_body_put_identified(cache, key, bytes, &identity));
	g_bytes_unref(bytes);
}

static void put(struct cache *cache, uint32_t uidvalidity, const struct told *told)
{
	struct cache_key key = {FOLDER, uidvalidity, told->uid, false};
	g_autofree char *id = id_of(told);

	put_as(cache, &key, told->email, id, octets_of(told->email));
}

static void list(struct cache *cache, uint32_t uidvalidity, const struct told *told, size_t count, bool complete)
{
	struct cache_batch *batch = cache_batch_new(cache, FOLDER);
	struct cache_folder folder = {.id = FOLDER, .name = (char *)"INBOX"};
	GArray *named = g_array_new(FALSE, FALSE, sizeof(struct cache_named));

	cache_batch_renumber(batch);
	cache_batch_folder(batch, &folder);
	for (size_t i = 0; i < count; i++) {
		g_autofree char *id = id_of(&told[i]);
		uint64_t octets = told[i].octets ? told[i].octets : octets_of(told[i].email);
		struct cache_named each = {.uid = told[i].uid};

		cache_batch_put(batch,
			&(struct cache_message){.uid = told[i].uid, .size_bytes = octets, .stem = "s", .emailid = id});
		cache_identity_of(id, octets, &each.identity);
		if (id)
			g_array_append_val(named, each);
	}
	folder.uidvalidity = uidvalidity;
	folder.checked_at = 5;
	if (complete) {
		cache_batch_adopt(batch, uidvalidity, named);
		cache_batch_folder(batch, &folder);
	} else {
		g_array_unref(named);
	}
	cache_batch_submit(batch);
}

/* Which email's octets are there; 0 = none. */
static uint32_t found(struct cache *cache, const struct cache_key *key)
{
	struct cache_body *body;
	char octets[2000];
	struct error err;
	uint32_t email = 0;

	if (cache_body_get(cache, key, &body, &err) != 1)
		return 0;
	assert_in_range(cache_body_length(body), 1, sizeof(octets));
	assert_int_equal(cache_body_read(body, 0, octets, sizeof(octets), &err), (ssize_t)cache_body_length(body));
	for (uint32_t each = 1; each <= EMAILS_MAX && !email; each++) {
		GBytes *wanted = octets_of(each) == cache_body_length(body) ? content(each) : NULL;

		if (wanted && memcmp(octets, g_bytes_get_data(wanted, NULL), octets_of(each)) == 0)
			email = each;
		if (wanted)
			g_bytes_unref(wanted);
	}
	assert_int_not_equal(email, 0);
	cache_body_unref(body);
	return email;
}

static uint32_t at(struct cache *cache, uint32_t uidvalidity, uint32_t uid)
{
	struct cache_key key = {FOLDER, uidvalidity, uid, false};

	return found(cache, &key);
}

static void expect_whole(struct cache *cache, uint64_t bodies)
{
	struct cache_stats stats;
	uint64_t checked;
	struct error err;

	assert_int_equal(cache_verify(cache, &checked, &err), 0);
	assert_int_equal(checked, bodies);
	cache_stats(cache, &stats);
	assert_int_equal(stats.dropped, 0);
}

/* ---- which do ---- */

static const struct told before[] = {{3, 1}, {4, 2}, {5, 3}, {6, 4}};
static const struct told after[] = {{1, 4}, {2, 5}, {4, 1}, {5, 2}, {9, 3}};

static void begin(struct cache *cache, uint32_t uidvalidity)
{
	list(cache, uidvalidity, before, G_N_ELEMENTS(before), true);
	for (size_t i = 0; i < G_N_ELEMENTS(before); i++)
		put(cache, uidvalidity, &before[i]);
}

static void expect_after(struct cache *cache, uint32_t uidvalidity)
{
	for (size_t i = 0; i < G_N_ELEMENTS(after); i++)
		assert_int_equal(at(cache, uidvalidity, after[i].uid), after[i].email == 5 ? 0 : after[i].email);
}

static void expect_nothing_until_9(struct cache *cache, uint32_t uidvalidity)
{
	for (uint32_t uid = 1; uid <= 9; uid++)
		assert_int_equal(at(cache, uidvalidity, uid), 0);
}

static void they_get_their_new_numbers(void **state)
{
	struct cache *cache = help_open(*state, 0);
	struct cache_key lf = {FOLDER, 7, 3, true}, text = {FOLDER, 7, 3, false, 5}, lf_now = {FOLDER, 8, 4, true};
	struct cache_key text_now = {FOLDER, 8, 4, false, 5};
	g_autoptr(GArray) uids = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	struct cache_stats stats;
	struct error err;

	begin(cache, 7);
	/* its own length is another one than the server counts */
	put_as(cache, &lf, LF_EMAIL + 1, "M1", octets_of(1));
	put_as(cache, &text, 900, NULL, 0);
	/* queued or written, nobody sees them before the listing is complete */
	list(cache, 8, after, 2, false);
	expect_nothing_until_9(cache, 7);
	expect_nothing_until_9(cache, 8);
	cache_flush(cache);
	expect_nothing_until_9(cache, 7);
	expect_nothing_until_9(cache, 8);
	list(cache, 8, after, G_N_ELEMENTS(after), true);
	cache_flush(cache);
	expect_after(cache, 8);
	expect_nothing_until_9(cache, 7);
	assert_int_equal(found(cache, &lf_now), LF_EMAIL + 1);
	assert_int_equal(found(cache, &text_now), 0);
	assert_int_equal(cache_body_uids(cache, FOLDER, 8, false, uids, &err), 0);
	assert_int_equal(uids->len, 4);
	cache_stats(cache, &stats);
	assert_int_equal(stats.messages, 5);
	expect_whole(cache, 5);
	cache_close(cache);
	/* by another process, and once more */
	cache = help_open(*state, 0);
	expect_after(cache, 8);
	assert_int_equal(found(cache, &lf_now), LF_EMAIL + 1);
	list(cache, 9, before, G_N_ELEMENTS(before), true);
	cache_flush(cache);
	for (size_t i = 0; i < G_N_ELEMENTS(before); i++)
		assert_int_equal(at(cache, 9, before[i].uid), before[i].email);
	expect_whole(cache, 5);
	cache_close(cache);
}

/* Each process lists the folder anew when it hears of it; the second finds it as the first has left it. */
static void two_processes_list_it_anew(void **state)
{
	struct cache *first = help_open(*state, 0), *second = help_open(*state, 0);

	begin(first, 7);
	list(first, 8, after, G_N_ELEMENTS(after), true);
	put(first, 8, &after[1]);
	cache_flush(first);
	put(second, 7, &before[0]);
	list(second, 8, after, G_N_ELEMENTS(after), true);
	cache_flush(second);
	for (size_t i = 0; i < G_N_ELEMENTS(after); i++) {
		assert_int_equal(at(first, 8, after[i].uid), after[i].email);
		assert_int_equal(at(second, 8, after[i].uid), after[i].email);
	}
	expect_whole(second, 5);
	cache_close(first);
	cache_close(second);
}

static void a_reader_in_the_middle_reads_on(void **state)
{
	struct cache *cache = help_open(*state, 0);
	struct cache_key key = {FOLDER, 7, 3, false};
	struct cache_body *body;
	GBytes *wanted = content(1);
	char octets[1000];
	struct error err;

	begin(cache, 7);
	cache_flush(cache);
	assert_int_equal(cache_body_get(cache, &key, &body, &err), 1);
	list(cache, 8, after, G_N_ELEMENTS(after), true);
	cache_flush(cache);
	list(cache, 9, after, 1, true);
	cache_flush(cache);
	assert_int_equal(at(cache, 9, 4), 0);
	assert_int_equal(cache_body_read(body, 0, octets, sizeof(octets), &err), (ssize_t)octets_of(1));
	assert_memory_equal(octets, g_bytes_get_data(wanted, NULL), octets_of(1));
	g_bytes_unref(wanted);
	cache_body_unref(body);
	cache_close(cache);
}

static void what_was_adopted_outlives_its_segment(void **state)
{
	struct cache *cache = help_open(*state, 8u << 20);
	uint32_t uid = 100;
	struct cache_stats stats;

	begin(cache, 7);
	list(cache, 8, after, G_N_ELEMENTS(after), true);
	cache_flush(cache);
	/* their segment is mostly dead soon: its rest is carried over when room is needed */
	do {
		struct cache_key key = {2, 7, uid++, false};

		help_put_sized(cache, &key, 200000);
		if (uid < 106)
			cache_body_drop(cache, &key);
		cache_flush(cache);
		cache_stats(cache, &stats);
	} while (!stats.evicted_bytes && uid < 1000);
	assert_in_range(uid, 100, 999);
	expect_after(cache, 8);
	assert_int_equal(at(cache, 8, 4), 1);
	cache_close(cache);
}

static void a_listing_that_ends_half_way(void **state)
{
	struct cache *cache = help_open(*state, 0);

	begin(cache, 7);
	list(cache, 8, after, 2, false);
	cache_close(cache);
	for (int i = 0; i < 3; i++) {
		cache = help_open(*state, 0);
		expect_nothing_until_9(cache, 7);
		expect_nothing_until_9(cache, 8);
		list(cache, 8, after, 3, false);
		cache_close(cache);
	}
	cache = help_open(*state, 0);
	list(cache, 9, after, G_N_ELEMENTS(after), true);
	cache_flush(cache);
	expect_after(cache, 9);
	expect_whole(cache, 4);
	cache_close(cache);
}

/* As when another process, which doesn't know yet, goes on under the old numbers in the meantime. */
static void two_generations_of_one_id(void **state)
{
	static const struct told other = {6, 8, "M1"}, now = {8, 1};
	struct cache_folder folder = {.id = FOLDER, .name = (char *)"INBOX", .uidvalidity = 7, .checked_at = 5};
	struct cache *cache = help_open(*state, 0);
	struct cache_batch *batch;

	assert_int_equal(octets_of(other.email), octets_of(now.email));
	list(cache, 7, before, 1, true);
	put(cache, 7, &before[0]);
	list(cache, 8, after, 2, false);
	batch = cache_batch_new(cache, FOLDER);
	cache_batch_put(batch, &(struct cache_message){.uid = other.uid, .stem = "s", .emailid = other.id});
	cache_batch_folder(batch, &folder);
	cache_batch_submit(batch);
	put(cache, 7, &other);
	list(cache, 8, &now, 1, true);
	cache_flush(cache);
	assert_int_equal(at(cache, 8, 8), 0);
	expect_whole(cache, 0);
	cache_close(cache);
}

/* The key of a body under one UIDVALIDITY means one message for ever: it comes back to it, or not at all. */
static void under_the_same_uidvalidity(void **state)
{
	static const struct told again[] = {{3, 5}, {4, 2}, {5, 1}, {6, 4}};
	struct cache *cache = help_open(*state, 0);

	begin(cache, 7);
	list(cache, 7, again, G_N_ELEMENTS(again), true);
	cache_flush(cache);
	assert_int_equal(at(cache, 7, 3), 0);
	assert_int_equal(at(cache, 7, 4), 2);
	assert_int_equal(at(cache, 7, 5), 0);
	assert_int_equal(at(cache, 7, 6), 4);
	expect_whole(cache, 2);
	cache_close(cache);
}

/* ---- which must not ---- */

struct refusal {
	const char *what;
	struct told before[3], fetched[2], after[3]; /* uid 0 = no more */
	uint32_t uid, email;                         /* afterwards there: 0 = nothing */
};

static const struct refusal refusals[] = {
	{"plain", {{3, 1}}, {{3, 1}}, {{8, 1}}, 8, 1},
	{"no id when it was fetched", {{3, 1}}, {{3, 1, ""}}, {{8, 1}}, 8, 0},
	{"no id in the old listing", {{3, 1, ""}}, {{3, 1}}, {{8, 1}}, 8, 0},
	{"no id in the new listing", {{3, 1}}, {{3, 1}}, {{8, 1, ""}}, 8, 0},
	{"another id when it was fetched", {{3, 1}}, {{3, 2}}, {{8, 1}}, 8, 0},
	{"and that one is asked for", {{3, 1}}, {{3, 2}}, {{8, 2}}, 8, 0},
	{"another size", {{3, 1}}, {{3, 1}}, {{8, 1, NULL, 9}}, 8, 0},
	{"two had it, both fetched", {{3, 1}, {4, 2, "M1"}}, {{3, 1}, {4, 2, "M1"}}, {{8, 1}}, 8, 0},
	{"two had it, one fetched", {{3, 1}, {4, 2, "M1"}}, {{3, 1}}, {{8, 1}}, 8, 0},
	{"two have it", {{3, 1}}, {{3, 1}}, {{8, 1}, {9, 2, "M1", 600}}, 8, 0},
	{"two have it, of one size", {{3, 1}}, {{3, 1}}, {{8, 1}, {9, 1}}, 9, 0},
	{"told twice", {{3, 1}}, {{3, 1}}, {{8, 1}, {8, 1}}, 8, 1},
	{"told twice and differently", {{3, 1}}, {{3, 1}}, {{8, 1}, {8, 2}}, 8, 0},
	{"told twice, of two sizes", {{3, 1}}, {{3, 1}}, {{8, 1}, {8, 1, NULL, 9}}, 8, 0},
	{"told thrice", {{3, 1}}, {{3, 1}}, {{8, 1}, {8, 2}, {8, 1}}, 8, 0},
	{"one message has two", {{3, 1}, {4, 2}}, {{3, 1}, {4, 2}}, {{8, 2}, {8, 1}}, 8, 0},
	{"not listed any more", {{4, 2}}, {{3, 1}}, {{8, 1}}, 8, 0},
	{"gone", {{3, 1}}, {{3, 1}}, {{3, 2}}, 3, 0},
};

static size_t told_count(const struct told *told, size_t most)
{
	size_t count = 0;

	while (count < most && told[count].uid)
		count++;
	return count;
}

static void what_is_not_plain_is_dropped(void **state)
{
	for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++) {
		const struct refusal *r = &refusals[i];
		struct cache *cache = help_open(*state, 0);

		printf("%s\n", r->what);
		list(cache, 7, r->before, told_count(r->before, 3), true);
		for (size_t k = 0; k < told_count(r->fetched, 2); k++)
			put(cache, 7, &r->fetched[k]);
		list(cache, 8, r->after, told_count(r->after, 3), true);
		cache_flush(cache);
		assert_int_equal(at(cache, 8, r->uid), r->email);
		expect_whole(cache, r->email != 0);
		cache_close(cache);
		help_remove(*state);
	}
}

static void a_folder_that_is_forgotten_leaves_nothing(void **state)
{
	struct cache *cache = help_open(*state, 0);
	struct cache_batch *batch;

	begin(cache, 7);
	list(cache, 8, after, 2, false);
	cache_flush(cache);
	assert_true(cache_body_any_identified(cache, FOLDER));
	cache_folder_drop(cache, FOLDER);
	cache_flush(cache);
	assert_false(cache_body_any_identified(cache, FOLDER));
	expect_whole(cache, 0);
	begin(cache, 7);
	assert_true(cache_body_any_identified(cache, FOLDER));
	assert_false(cache_body_any_identified(cache, FOLDER + 1));
	list(cache, 8, after, 2, false);
	batch = cache_batch_new(cache, FOLDER);
	cache_batch_clear(batch);
	cache_batch_submit(batch);
	list(cache, 9, after, G_N_ELEMENTS(after), true);
	cache_flush(cache);
	expect_nothing_until_9(cache, 9);
	expect_whole(cache, 0);
	cache_close(cache);
}

static void sql(const char *dir, const char *text)
{
	struct cache *cache = help_open(dir, 0);
	g_autofree char *index = g_build_filename(cache_path(cache), "index.db", NULL);
	sqlite3 *db;

	cache_close(cache);
	assert_int_equal(sqlite3_open(index, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_changes(db), 1);
	sqlite3_close(db);
}

/* The record says another key than the row, so the row has to be right by itself. */
static void a_row_that_was_damaged_shows_nothing(void **state)
{
	static const char *const damages[] = {"UPDATE body SET uid = 2 WHERE uid = 4",
		"UPDATE body SET uidvalidity = 9 WHERE uid = 4", "UPDATE body SET folder = 2 WHERE uid = 4",
		"UPDATE body SET lf = 1 WHERE uid = 4", "UPDATE body SET origin = origin + 1 WHERE uid = 4",
		"UPDATE body SET origin = NULL WHERE uid = 4", "UPDATE body SET sum = NULL WHERE uid = 4",
		"UPDATE body SET sum = sum + 1 WHERE uid = 4",
		"UPDATE body SET (segment, offset) = (SELECT segment, offset FROM body WHERE uid = 5) WHERE uid = 4"};

	for (size_t i = 0; i < G_N_ELEMENTS(damages); i++) {
		struct cache *cache = help_open(*state, 0);
		uint64_t checked;
		struct error err;

		printf("%s\n", damages[i]);
		begin(cache, 7);
		list(cache, 8, after, G_N_ELEMENTS(after), true);
		cache_close(cache);
		sql(*state, damages[i]);
		cache = help_open(*state, 0);
		for (uint32_t form = 0; form < 2; form++)
			for (uint32_t key_uid = 2; key_uid <= 4; key_uid += 2) {
				struct cache_key keys[] = {
					{FOLDER, 8, key_uid, form}, {FOLDER, 9, key_uid, form}, {2, 8, key_uid, form}};

				for (size_t k = 0; k < G_N_ELEMENTS(keys); k++)
					assert_int_equal(found(cache, &keys[k]), 0);
			}
		assert_int_equal(at(cache, 8, 5), 2);
		/* what wasn't asked for, verify finds; then it can be stored again */
		assert_true(cache_verify(cache, &checked, &err) >= 0);
		assert_int_equal(cache_verify(cache, &checked, &err), 0);
		assert_int_equal(checked, 3);
		put(cache, 8, &after[2]);
		cache_flush(cache);
		assert_int_equal(at(cache, 8, 4), 1);
		cache_close(cache);
		help_remove(*state);
	}
}

/* ---- whatever happens ---- */

struct world {
	const char *dir;
	GRand *rand;
	struct cache *cache;
	uint32_t uidvalidity;
	struct told told[EMAILS];
	size_t count;
	bool listed;
	unsigned survived;
};

static uint32_t below(struct world *w, uint32_t end)
{
	return (uint32_t)g_rand_int_range(w->rand, 0, (gint32)end);
}

/* Other numbers, some gone, some new; sometimes numbers or UIDVALIDITY of before. */
static void renumber(struct world *w)
{
	uint32_t emails[EMAILS], uid = 0;

	for (uint32_t i = 0; i < EMAILS; i++) {
		uint32_t other = below(w, i + 1);

		emails[i] = emails[other];
		emails[other] = i + 1;
	}
	w->uidvalidity = 7 + below(w, 4);
	w->count = below(w, EMAILS + 1);
	for (size_t i = 0; i < w->count; i++) {
		uid += 1 + below(w, 2);
		w->told[i] = (struct told){uid, emails[i]};
	}
	w->listed = false;
}

static void expect_right(struct world *w)
{
	for (size_t i = 0; i < w->count && w->listed; i++) {
		uint32_t email = at(w->cache, w->uidvalidity, w->told[i].uid);

		if (email)
			assert_int_equal(email, w->told[i].email);
	}
}

static void damage_index(struct world *w)
{
	g_autofree char *index = g_build_filename(cache_path(w->cache), "index.db", NULL);
	int fd;

	cache_close(w->cache);
	fd = open(index, O_WRONLY);
	assert_int_equal(pwrite(fd, "Z", 1, 3), 1);
	close(fd);
	w->cache = help_open(w->dir, 0);
	/* nothing is known of any folder then, and the model lists anew */
	w->listed = false;
}

static void step(struct world *w)
{
	size_t which;

	switch (below(w, 12)) {
	case 0:
		renumber(w);
		break;
	case 1:
		list(w->cache, w->uidvalidity, w->told, w->count / 2, false);
		w->listed = false;
		break;
	case 2:
	case 3:
		if (!w->listed) {
			list(w->cache, w->uidvalidity, w->told, w->count, true);
			w->listed = true;
			for (size_t i = 0; below(w, 2) && i < w->count; i++) {
				cache_flush(w->cache);
				w->survived += at(w->cache, w->uidvalidity, w->told[i].uid) != 0;
			}
		}
		break;
	case 4:
		cache_flush(w->cache);
		break;
	case 5:
		cache_close(w->cache);
		w->cache = help_open(w->dir, 0);
		break;
	case 6:
		if (below(w, 4) == 0)
			damage_index(w);
		break;
	default:
		if (w->listed && w->count) {
			which = below(w, (uint32_t)w->count);
			if (!at(w->cache, w->uidvalidity, w->told[which].uid))
				put(w->cache, w->uidvalidity, &w->told[which]);
		}
		break;
	}
	expect_right(w);
}

static void never_another_messages_octets(void **state)
{
	unsigned survived = 0;

	for (guint32 seed = 1; seed <= ROUNDS; seed++) {
		struct world w = {.dir = *state, .rand = g_rand_new_with_seed(seed)};

		printf("seed %u\n", seed);
		w.cache = help_open(*state, 0);
		renumber(&w);
		for (unsigned i = 0; i < STEPS; i++)
			step(&w);
		cache_close(w.cache);
		g_rand_free(w.rand);
		survived += w.survived;
		help_remove(*state);
	}
	printf("%u survived\n", survived);
	assert_true(survived > ROUNDS);
}

/* ---- crashes ---- */

static int ready_pipe[2];

/* Fetches and renumbers for ever: under UIDVALIDITY v the email e has the UID that uid_of() says. */
static uint32_t uid_of(uint32_t uidvalidity, uint32_t email)
{
	return 1 + (email * 7 + uidvalidity * 3) % 101;
}

static int renumber_for_ever(const char *dir, uint32_t uidvalidity)
{
	struct cache *cache;
	struct error err;
	struct told told[100];

	if (cache_open(dir, "imap.example.org", 993, "user", 0, &cache, &err) != 0)
		return 1;
	for (;; uidvalidity++) {
		for (uint32_t email = 1; email <= 100; email++)
			told[email - 1] = (struct told){uid_of(uidvalidity, email), email};
		list(cache, uidvalidity, told, 50, false);
		cache_flush(cache);
		if (uidvalidity % 2 && write(ready_pipe[1], "", 1) != 1)
			return 1;
		list(cache, uidvalidity, told, 100, true);
		for (uint32_t email = uidvalidity % 3 + 1; email <= 100; email += 3)
			put(cache, uidvalidity, &told[email - 1]);
		cache_flush(cache);
		if (uidvalidity % 2 == 0 && write(ready_pipe[1], "", 1) != 1)
			return 1;
	}
}

struct remains {
	uint32_t uidvalidity;
	bool complete;
};

static void look_at_folder(void *ctx, const struct cache_folder *folder)
{
	struct remains *remains = ctx;

	remains->uidvalidity = folder->uidvalidity;
	remains->complete = folder->checked_at != 0;
}

static void killed_at_any_moment(void **state)
{
	unsigned there = 0, complete = 0;
	uint32_t uidvalidity = 1;

	assert_int_equal(pipe(ready_pipe), 0);
	for (int i = 0; i < KILLS; i++) {
		struct remains remains = {0};
		struct cache *cache;
		uint64_t checked;
		struct error err;
		pid_t pid = fork();
		char byte;

		assert_true(pid >= 0);
		if (pid == 0)
			_exit(renumber_for_ever(*state, uidvalidity));
		for (int k = 0; k < 2 + i; k++)
			assert_int_equal(read(ready_pipe[0], &byte, 1), 1);
		g_usleep((gulong)(3000 * (i % 5)));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		cache = help_open(*state, 0);
		assert_int_equal(cache_folders_load(cache, look_at_folder, &remains, &err), 0);
		complete += remains.complete;
		for (uint32_t email = 1; email <= 100 && remains.complete; email++) {
			uint32_t got = at(cache, remains.uidvalidity, uid_of(remains.uidvalidity, email));

			assert_true(!got || got == email);
			there += got != 0;
		}
		assert_int_equal(cache_verify(cache, &checked, &err), 0);
		uidvalidity = MAX(uidvalidity, remains.uidvalidity) + 100;
		cache_close(cache);
	}
	close(ready_pipe[0]);
	close(ready_pipe[1]);
	printf("%u of %d listings were complete, with %u bodies\n", complete, KILLS, there);
	assert_true(there > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(they_get_their_new_numbers, setup, teardown),
		cmocka_unit_test_setup_teardown(two_processes_list_it_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reader_in_the_middle_reads_on, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_adopted_outlives_its_segment, setup, teardown),
		cmocka_unit_test_setup_teardown(a_listing_that_ends_half_way, setup, teardown),
		cmocka_unit_test_setup_teardown(two_generations_of_one_id, setup, teardown),
		cmocka_unit_test_setup_teardown(under_the_same_uidvalidity, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_not_plain_is_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(a_folder_that_is_forgotten_leaves_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(a_row_that_was_damaged_shows_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(never_another_messages_octets, setup, teardown),
		cmocka_unit_test_setup_teardown(killed_at_any_moment, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
