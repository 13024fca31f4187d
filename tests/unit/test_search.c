/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Searches of the model: over folders, once for equal queries, kept for a while, complete or failed. */
#include "src/mail/query.h"
#include "tests/unit/mail_fixture.h"

#include "src/base/banned.h"

#define SHORT_POLL_S 3600u

static void add(struct fake_folder *folder, uint32_t uid, const char *text, uint32_t flags)
{
	fake_add(folder, uid, text, strlen(text))->flags = flags;
}

/* INBOX 1-3, Work 1-2, Work/Deep 1. */
static struct fixture *start(void **state, uint32_t poll_s)
{
	struct fixture *f = *state = g_new0(struct fixture, 1);
	struct fake_folder *work, *deep;

	fixture_new(f);
	f->config.poll_s = poll_s;
	add(f->inbox, 1, "apple", 0);
	add(f->inbox, 2, "pear", MAIL_SEEN);
	add(f->inbox, 3, "apple and pear", MAIL_SEEN | MAIL_FLAGGED);
	work = fake_folder_add(f->fake, "Work", 8);
	add(work, 1, "apple", MAIL_SEEN);
	add(work, 2, "plum", 0);
	deep = fake_folder_add(f->fake, "Work/Deep", 9);
	add(deep, 1, "apple pie", 0);
	fixture_mount(f);
	return f;
}

struct looking {
	struct fixture *f;
	struct query *query;
	struct mail_results *results;
	struct error err;
	int code;
	GThread *thread;
};

static int ask_search(void *ctx, struct mail_waiter *waiter)
{
	struct looking *looking = ctx;

	return mail_search(looking->f->mail, looking->query, waiter, &looking->results, &looking->err);
}

static void look_begin(struct looking *looking, struct fixture *f, const char *text)
{
	*looking = (struct looking){.f = f};
	assert_int_equal(0, query_parse(text, &looking->query, NULL));
}

static int by_text(gconstpointer a, gconstpointer b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "INBOX/1 Work/2", or the error's code as text. */
static char *look_end(struct looking *looking)
{
	GPtrArray *hits = g_ptr_array_new_with_free_func(g_free);
	char *text;

	query_free(looking->query);
	if (looking->code)
		g_ptr_array_add(hits, g_strdup_printf("%d", looking->code));
	for (guint i = 0; looking->results && i < mail_results_count(looking->results); i++) {
		struct mail_hit hit;
		struct mail_message message;
		struct mail_folder_info info;

		mail_results_get(looking->results, i, &hit);
		mail_folder_info(looking->f->mail, hit.folder, &info);
		/* each has a name, as it is in its folder's listing */
		assert_true(mail_message_find(looking->f->mail, hit.folder, hit.uid, &message));
		assert_int_equal(info.message_number, hit.message_number);
		g_autofree char *path = mail_folder_path(looking->f->mail, hit.folder);
		g_ptr_array_add(hits, g_strdup_printf("%s/%u", path, hit.uid));
	}
	mail_results_unref(looking->results);
	g_ptr_array_sort(hits, by_text);
	g_ptr_array_add(hits, NULL);
	text = g_strjoinv(" ", (char **)hits->pdata);
	g_ptr_array_unref(hits);
	return text;
}

static char *look(struct fixture *f, const char *text)
{
	struct looking looking;

	look_begin(&looking, f, text);
	tick();
	looking.code = fixture_wait(f, ask_search, &looking);
	return look_end(&looking);
}

static void assert_finds(struct fixture *f, const char *text, const char *expected)
{
	g_autofree char *found = look(f, text);

	assert_string_equal(expected, found);
}

static void assert_fails(struct fixture *f, const char *text, int code)
{
	g_autofree char *expected = g_strdup_printf("%d", code);

	assert_finds(f, text, expected);
}

static void test_finds_in_all_folders(void **state)
{
	struct fixture *f = start(state, 0);

	assert_finds(f, "apple", "INBOX/1 INBOX/3 Work/1 Work/Deep/1");
	assert_finds(f, "apple pear", "INBOX/3");
	assert_finds(f, "nothing", "");
	assert_finds(f, "is:unread", "INBOX/1 Work/2 Work/Deep/1");
	assert_finds(f, "in:Work apple", "Work/1 Work/Deep/1");
	assert_finds(f, "in:Work/Deep apple", "Work/Deep/1");
	assert_finds(f, "in:inbox apple", "INBOX/1 INBOX/3");
	assert_fails(f, "in:Nowhere apple", ERR_GONE);
	assert_fails(f, "in:Work/Nowhere apple", ERR_GONE);
}

static void test_results_are_kept_for_poll(void **state)
{
	struct fixture *f = start(state, SHORT_POLL_S);
	unsigned before;

	assert_finds(f, "apple", "INBOX/1 INBOX/3 Work/1 Work/Deep/1");
	before = f->fake->searches;
	assert_int_equal(3, before);
	fake_lock(f->fake);
	add(f->inbox, 4, "another apple", 0);
	fake_unlock(f->fake);
	assert_finds(f, "\"apple\"", "INBOX/1 INBOX/3 Work/1 Work/Deep/1");
	assert_int_equal(before, f->fake->searches);
	/* another query has results of its own, and what is new gets a name */
	assert_finds(f, "in:INBOX apple", "INBOX/1 INBOX/3 INBOX/4");
	assert_int_equal(before + 1, f->fake->searches);
	/* the oldest go */
	for (unsigned i = 0; i < MAIL_RESULTS_MAX; i++) {
		g_autofree char *text = g_strdup_printf("in:INBOX %u", i);

		assert_finds(f, text, "");
	}
	assert_finds(f, "apple", "INBOX/1 INBOX/3 INBOX/4 Work/1 Work/Deep/1");
}

static void test_results_expire(void **state)
{
	struct fixture *f = start(state, 0);

	assert_finds(f, "apple", "INBOX/1 INBOX/3 Work/1 Work/Deep/1");
	fake_lock(f->fake);
	fake_remove(f->inbox, 1);
	add(f->inbox, 4, "another apple", 0);
	fake_unlock(f->fake);
	assert_finds(f, "apple", "INBOX/3 INBOX/4 Work/1 Work/Deep/1");
}

static gpointer look_in_thread(gpointer data)
{
	struct looking *looking = data;

	looking->code = fixture_wait(looking->f, ask_search, looking);
	return NULL;
}

static bool searches_wait(struct fixture *f)
{
	fake_lock(f->fake);
	bool all = f->fake->searching.length == 3;
	fake_unlock(f->fake);
	return all;
}

static void test_equal_queries_are_asked_once(void **state)
{
	struct fixture *f = start(state, SHORT_POLL_S);
	struct looking looking[4];

	f->fake->holds = true;
	for (size_t i = 0; i < G_N_ELEMENTS(looking); i++) {
		look_begin(&looking[i], f, "apple");
		looking[i].thread = g_thread_new("look", look_in_thread, &looking[i]);
	}
	wait_for(searches_wait, f);
	fake_release(f->fake);
	for (size_t i = 0; i < G_N_ELEMENTS(looking); i++) {
		g_thread_join(looking[i].thread);
		g_autofree char *found = look_end(&looking[i]);

		assert_string_equal("INBOX/1 INBOX/3 Work/1 Work/Deep/1", found);
	}
	assert_int_equal(3, f->fake->searches);
}

static void test_what_fails_fails_whole(void **state)
{
	struct fixture *f = start(state, SHORT_POLL_S);
	struct fake_folder *work = f->fake->folders->pdata[1];

	work->search_code = ERR_UNREACHABLE;
	assert_fails(f, "apple", ERR_UNREACHABLE);
	assert_finds(f, "in:INBOX apple", "INBOX/1 INBOX/3");
	work->search_code = 0;
	/* a failure isn't remembered */
	assert_finds(f, "apple", "INBOX/1 INBOX/3 Work/1 Work/Deep/1");
}

static void test_a_folder_that_cant_be_searched_is_left_out(void **state)
{
	struct fixture *f = start(state, 0);
	struct fake_folder *work = f->fake->folders->pdata[1];

	work->search_code = ERR_REFUSED;
	assert_finds(f, "apple", "INBOX/1 INBOX/3 Work/Deep/1");
	g_autofree char *errors = mail_errors_text(f->mail);

	assert_non_null(strstr(errors, "search \"apple\": Work: as the test ordered"));
	((struct fake_folder *)f->fake->folders->pdata[2])->search_code = ERR_REFUSED;
	assert_fails(f, "in:Work apple", ERR_REFUSED);
}

static void test_a_server_that_knows_ascii_only(void **state)
{
	struct fixture *f = start(state, 0);

	f->fake->ascii_only = true;
	assert_finds(f, "apple", "INBOX/1 INBOX/3 Work/1 Work/Deep/1");
	/* it can't be asked for this, and that must not look like nothing found */
	assert_fails(f, "яблуко", ERR_INVALID);
	assert_fails(f, "apple яблуко", ERR_INVALID);
	/* this is in the index */
	assert_finds(f, "subject:яблуко", "");
	assert_finds(f, "subject:привіт", "INBOX/1 INBOX/2 INBOX/3 Work/1 Work/2 Work/Deep/1");
	assert_finds(f, "subject:Привіт apple is:unread", "INBOX/1 Work/Deep/1");
}

static void test_a_renumbered_folder_is_searched_again(void **state)
{
	struct fixture *f = start(state, SHORT_POLL_S);

	assert_finds(f, "in:INBOX pear", "INBOX/2 INBOX/3");
	fake_lock(f->fake);
	fake_clear(f->inbox);
	f->inbox->state.uidvalidity = 70;
	add(f->inbox, 1, "pear", 0);
	add(f->inbox, 2, "apple", 0);
	fake_unlock(f->fake);
	assert_finds(f, "in:INBOX apple", "INBOX/2");
}

static void test_what_is_called_off_ends(void **state)
{
	struct fixture *f = start(state, SHORT_POLL_S);
	struct looking looking;
	struct blocked blocked = {.waiter = {.done = blocked_done},
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER};

	assert_int_equal(0, check_tree(f));
	f->fake->holds = true;
	look_begin(&looking, f, "apple");
	assert_int_equal(MAIL_PARKED, ask_search(&looking, &blocked.waiter));
	wait_for(searches_wait, f);
	mail_cancel(f->mail, &blocked.waiter);
	pthread_mutex_lock(&blocked.lock);
	while (!blocked.done)
		pthread_cond_wait(&blocked.changed, &blocked.lock);
	pthread_mutex_unlock(&blocked.lock);
	assert_int_equal(ERR_INTERRUPTED, blocked.code);
	query_free(looking.query);
	/* who asks now isn't told of the other's end */
	look_begin(&looking, f, "pear");
	looking.thread = g_thread_new("look", look_in_thread, &looking);
	fake_release(f->fake);
	g_thread_join(looking.thread);
	g_autofree char *found = look_end(&looking);

	assert_string_equal("INBOX/2 INBOX/3", found);
	assert_finds(f, "apple", "INBOX/1 INBOX/3 Work/1 Work/Deep/1");
	/* one that is under way when the mount ends is forgotten with it: by the teardown */
	static struct looking last;
	static struct blocked waiting = {.waiter = {.done = blocked_done},
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER};

	f->fake->holds = true;
	look_begin(&last, f, "plum");
	assert_int_equal(MAIL_PARKED, ask_search(&last, &waiting.waiter));
	wait_for(searches_wait, f);
}

static void test_wrong_queries_are_noted(void **state)
{
	struct fixture *f = start(state, 0);
	struct query *query;
	struct error err;

	assert_int_equal(ERR_INVALID, mail_query_open(f->mail, "form:nobody", &query, &err));
	g_autofree char *errors = mail_errors_text(f->mail);

	assert_non_null(strstr(errors, "search form:nobody: form: no such field"));
	assert_int_equal(0, mail_query_open(f->mail, "from:somebody", &query, &err));
	query_free(query);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_finds_in_all_folders, fixture_teardown),
		cmocka_unit_test_teardown(test_results_are_kept_for_poll, fixture_teardown),
		cmocka_unit_test_teardown(test_results_expire, fixture_teardown),
		cmocka_unit_test_teardown(test_equal_queries_are_asked_once, fixture_teardown),
		cmocka_unit_test_teardown(test_what_fails_fails_whole, fixture_teardown),
		cmocka_unit_test_teardown(test_a_folder_that_cant_be_searched_is_left_out, fixture_teardown),
		cmocka_unit_test_teardown(test_a_server_that_knows_ascii_only, fixture_teardown),
		cmocka_unit_test_teardown(test_a_renumbered_folder_is_searched_again, fixture_teardown),
		cmocka_unit_test_teardown(test_what_is_called_off_ends, fixture_teardown),
		cmocka_unit_test_teardown(test_wrong_queries_are_noted, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
