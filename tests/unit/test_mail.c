/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Folders and listings of the model. Bodies: test_bodies.c. */
#include "tests/unit/mail_fixture.h"

#include "src/base/banned.h"

static struct fixture *start(void **state, unsigned messages)
{
	struct fixture *f = *state = g_new0(struct fixture, 1);

	fixture_new(f);
	for (uint32_t uid = 1; uid <= messages; uid++)
		fake_add_text(f->inbox, uid, 100 + uid);
	fixture_mount(f);
	return f;
}

/* "1,2,5": the UIDs of a folder's listing. */
static char *uids_of(struct fixture *f, struct mail_folder *folder)
{
	struct mail_message messages[3];
	GString *text = g_string_new(NULL);
	uint32_t after = 0;
	size_t count;

	while ((count = mail_messages_next(f->mail, folder, after, messages, G_N_ELEMENTS(messages))))
		for (size_t i = 0; i < count; i++) {
			after = messages[i].uid;
			g_string_append_printf(text, "%s%u", text->len ? "," : "", after);
		}
	return g_string_free(text, FALSE);
}

static void assert_listed(struct fixture *f, const char *expected)
{
	g_autofree char *uids = uids_of(f, f->folder);

	assert_string_equal(expected, uids);
}

static uint32_t message_number(struct fixture *f)
{
	struct mail_folder_info info;

	mail_folder_info(f->mail, f->folder, &info);
	return info.message_number;
}

static bool has_child(struct fixture *f, const char *name)
{
	struct mail_folder *folder = child(f, name);

	mail_folder_unref(folder);
	return folder != NULL;
}

/* ---- listings ---- */

static void test_a_listing_tells_what_the_server_told(void **state)
{
	struct fixture *f = start(state, 3);
	struct mail_message message;

	open_inbox(f);
	assert_listed(f, "1,2,3");
	assert_true(mail_message_find(f->mail, f->folder, 2, &message));
	assert_string_equal("user2@example.org_number-2,-привіт", message.stem);
	assert_int_equal(102, message.size_bytes);
	assert_false(message.size_exact);
	assert_int_equal(1000120, message.date);
	assert_false(mail_message_find(f->mail, f->folder, 4, &message));
	assert_int_equal(0, f->fake->fetches);
}

static void test_new_messages_appear_and_others_go(void **state)
{
	struct fixture *f = start(state, 3);
	uint32_t number;

	open_inbox(f);
	number = message_number(f);
	fake_lock(f->fake);
	fake_add_text(f->inbox, 9, 50);
	fake_remove(f->inbox, 2);
	fake_unlock(f->fake);
	assert_int_equal(0, check_folder(f, f->folder));
	assert_listed(f, "1,3,9");
	assert_int_equal(number, message_number(f));
	assert_int_equal(1, fixture_events(f, MAIL_EVENT_MESSAGE_ADDED));
	assert_int_equal(1, fixture_events(f, MAIL_EVENT_MESSAGE_GONE));
	assert_int_equal(ERR_GONE, read_code(f, 2));
}

static void test_all_messages_may_go(void **state)
{
	struct fixture *f = start(state, 2);

	open_inbox(f);
	fake_lock(f->fake);
	fake_remove(f->inbox, 1);
	fake_remove(f->inbox, 2);
	fake_unlock(f->fake);
	assert_int_equal(0, check_folder(f, f->folder));
	assert_listed(f, "");
}

static int ask_flags(void *ctx, struct mail_waiter *waiter)
{
	struct ask *ask = ctx;

	return mail_folder_flags_fresh(ask->f->mail, ask->folder, waiter, &ask->err);
}

static void test_flags_are_fetched_where_they_are_shown(void **state)
{
	struct fixture *f = start(state, 3);
	struct ask ask = {.f = f};
	struct mail_message message;

	open_inbox(f);
	fake_lock(f->fake);
	fake_find(f->inbox, 2)->flags = MAIL_SEEN | MAIL_FLAGGED;
	fake_unlock(f->fake);
	ask.folder = f->folder;
	tick();
	assert_int_equal(0, fixture_wait(f, ask_flags, &ask));
	assert_true(mail_message_find(f->mail, f->folder, 2, &message));
	assert_int_equal(MAIL_SEEN | MAIL_FLAGGED, message.flags);
	assert_true(mail_message_find(f->mail, f->folder, 1, &message));
	assert_int_equal(0, message.flags);
}

/* Reads a message, and has the server give its UID to another one under another UIDVALIDITY; returns message_number().
 */
static uint32_t read_and_renumber(struct fixture *f)
{
	uint32_t number;

	open_inbox(f);
	assert_int_equal(0, read_code(f, 1));
	number = message_number(f);
	fake_lock(f->fake);
	fake_clear(f->inbox);
	f->inbox->state.uidvalidity = 8;
	fake_add(f->inbox, 1, "other", 5);
	fake_unlock(f->fake);
	return number;
}

static void test_another_uidvalidity_is_another_folder(void **state)
{
	struct fixture *f = start(state, 3);
	uint32_t number = read_and_renumber(f);

	assert_int_equal(0, check_folder(f, f->folder));
	assert_listed(f, "1");
	assert_int_not_equal(number, message_number(f));
	assert_int_equal(1, fixture_events(f, MAIL_EVENT_FOLDER_RESET));
	assert_reads(f, 1, fake_find(f->inbox, 1)->bytes);
	assert_int_equal(ERR_GONE, read_code(f, 2));
}

/* What holds an old inode, or stores what was read for one, must not meet another message. */
static void test_inode_numbers_dont_come_back(void **state)
{
	static const uint32_t uidvalidities[] = {7, 8, 7, 8, 7};
	struct fixture *f = start(state, 0);
	g_autoptr(GHashTable) numbers = g_hash_table_new(NULL, NULL);

	for (size_t i = 0; i < G_N_ELEMENTS(uidvalidities); i++) {
		fake_lock(f->fake);
		fake_clear(f->inbox);
		f->inbox->state.uidvalidity = uidvalidities[i];
		fake_add_text(f->inbox, 1, 100 + i);
		fake_unlock(f->fake);
		if (f->folder)
			assert_int_equal(0, check_folder(f, f->folder));
		else
			open_inbox(f);
		assert_true(g_hash_table_add(numbers, GUINT_TO_POINTER(message_number(f))));
		assert_reads(f, 1, fake_find(f->inbox, 1)->bytes);
	}
}

/* Its session is lost after it was told of another UIDVALIDITY, and the next one tells the old one. */
static void test_an_uidvalidity_that_is_back_in_mid_check(void **state)
{
	struct fixture *f = start(state, 3);
	uint32_t number = read_and_renumber(f);

	fake_lock(f->fake);
	f->inbox->renumbered = 7;
	/* UIDNEXT is the old one, too */
	fake_add(f->inbox, 3, "others", 6);
	fake_unlock(f->fake);
	assert_int_equal(0, check_folder(f, f->folder));
	assert_listed(f, "1,3");
	assert_int_not_equal(0, message_number(f));
	assert_int_not_equal(number, message_number(f));
	assert_reads(f, 1, fake_find(f->inbox, 1)->bytes);
	assert_reads(f, 3, fake_find(f->inbox, 3)->bytes);
}

/* Another process's model of the same cache: with the next server behind it. */
static void remount(struct fixture *f)
{
	cache_flush(f->cache);
	fixture_unmount(f);
	f->loop = loop_new();
	f->fake = fake_new(f->loop);
	f->inbox = fake_folder_add(f->fake, "INBOX", 7);
}

static int64_t flags_mtime(struct fixture *f)
{
	struct mail_folder_info info;

	mail_folder_info(f->mail, f->folder, &info);
	return info.flags_mtime;
}

static void flag(struct fixture *f, uint32_t uid, uint32_t flags)
{
	struct ask ask = {.f = f, .folder = f->folder};

	fake_lock(f->fake);
	fake_find(f->inbox, uid)->flags = flags;
	fake_unlock(f->fake);
	tick();
	assert_int_equal(0, fixture_wait(f, ask_flags, &ask));
}

/* Whoever names messages by their flags hears of each change, and sees another time even within one second. */
static void test_changed_flags_are_told(void **state)
{
	struct fixture *f = start(state, 3);
	struct mail_folder_info info;
	int64_t first, second;

	open_inbox(f);
	mail_folder_info(f->mail, f->folder, &info);
	first = flags_mtime(f);
	assert_int_equal(info.mtime, first);
	flag(f, 2, MAIL_SEEN);
	second = flags_mtime(f);
	assert_int_equal(1, fixture_events(f, MAIL_EVENT_MESSAGE_FLAGS));
	assert_int_not_equal(first, second);
	flag(f, 2, 0);
	assert_int_not_equal(second, flags_mtime(f));
	assert_int_equal(2, fixture_events(f, MAIL_EVENT_MESSAGE_FLAGS));
	second = flags_mtime(f);
	/* no name shows a keyword */
	flag(f, 2, MAIL_KEYWORDS);
	assert_int_equal(2, fixture_events(f, MAIL_EVENT_MESSAGE_FLAGS));
	assert_int_equal(second, flags_mtime(f));
	/* the other layout's directory hasn't changed */
	mail_folder_info(f->mail, f->folder, &info);
	assert_int_equal(first, info.mtime);
	remount(f);
	fixture_mount(f);
	f->folder = child(f, "INBOX");
	assert_int_equal(second, flags_mtime(f));
}

static void index_flag(struct fixture *f, uint32_t uid, uint32_t flags)
{
	struct cache_batch *batch;
	uint32_t id;

	assert_int_equal(0, cache_folder_id(f->cache, "INBOX", &id, NULL));
	batch = cache_batch_new(f->cache, id);
	cache_batch_flags(batch, uid, flags, NULL);
	cache_batch_submit(batch);
}

static void flags_found(void *ctx, const struct cache_message *message)
{
	*(uint32_t *)ctx = message->flags;
}

static uint32_t index_flags(struct fixture *f, uint32_t uid)
{
	uint32_t id, flags = 0;

	cache_flush(f->cache);
	assert_int_equal(0, cache_folder_id(f->cache, "INBOX", &id, NULL));
	assert_int_equal(1, cache_message_find(f->cache, id, uid, flags_found, &flags, NULL));
	return flags;
}

/* A server without change numbers tells the flags of all at each check; what the index has is seen by what isn't so. */
static void test_flags_that_are_as_they_were_are_not_written(void **state)
{
	struct fixture *f = start(state, 4);

	open_inbox(f);
	flag(f, 3, MAIL_KEYWORDS);
	for (uint32_t uid = 1; uid <= 4; uid++)
		index_flag(f, uid, MAIL_DRAFT);
	flag(f, 2, MAIL_SEEN);
	assert_int_equal(MAIL_DRAFT, index_flags(f, 1));
	assert_int_equal(MAIL_SEEN, index_flags(f, 2));
	/* others may be among its keywords */
	assert_int_equal(MAIL_KEYWORDS, index_flags(f, 3));
	assert_int_equal(MAIL_DRAFT, index_flags(f, 4));
	/* what a server with change numbers tells has changed since the index was right */
	f->inbox->state.highestmodseq = 7;
	flag(f, 2, 0);
	assert_int_equal(0, index_flags(f, 1));
	assert_int_equal(0, index_flags(f, 2));
	assert_int_equal(0, index_flags(f, 4));
}

/* Another client sets a flag and takes it back while the check is under way. */
static void test_flags_told_twice_are_those_told_last(void **state)
{
	struct fixture *f = start(state, 4);
	struct mail_message message;

	open_inbox(f);
	f->fake->early_uid = 3;
	f->fake->early_flags = MAIL_DRAFT;
	flag(f, 2, MAIL_SEEN);
	assert_true(mail_message_find(f->mail, f->folder, 3, &message));
	assert_int_equal(0, message.flags);
	assert_int_equal(0, index_flags(f, 3));
	assert_int_equal(MAIL_SEEN, index_flags(f, 2));
}

static void test_the_index_answers_a_second_mount(void **state)
{
	struct fixture *f = start(state, 3);
	uint32_t number;

	open_inbox(f);
	number = message_number(f);
	remount(f);
	f->fake->list_code = f->fake->sync_code = ERR_UNREACHABLE;
	fixture_mount(f);
	f->folder = child(f, "INBOX");
	assert_non_null(f->folder);
	assert_int_equal(0, check_folder(f, f->folder));
	assert_listed(f, "1,2,3");
	assert_int_equal(number, message_number(f));
}

static void test_equal_numbers_of_other_messages_are_found_out(void **state)
{
	struct fixture *f = start(state, 3);

	open_inbox(f);
	assert_int_equal(0, read_code(f, 2));
	remount(f);
	/* another mailbox: UIDVALIDITY, UIDNEXT and count are the same */
	for (uint32_t uid = 1; uid <= 3; uid++)
		fake_add(f->inbox, uid, "not the same", 12)->date += 5;
	fixture_mount(f);
	open_inbox(f);
	assert_listed(f, "1,2,3");
	assert_reads(f, 2, fake_find(f->inbox, 2)->bytes);
	assert_int_equal(1, fake_asked(f->fake, 2));
}

static void turned(void *data)
{
	atomic_store((atomic_bool *)data, true);
}

/* What was given to the loop before has been done. */
static void loop_turn(struct fixture *f)
{
	atomic_bool done = false;

	loop_post(f->loop, turned, &done);
	while (!atomic_load(&done))
		g_usleep(100);
}

static void test_a_failed_check_shows_what_is_known(void **state)
{
	struct fixture *f = start(state, 2);

	open_inbox(f);
	f->fake->sync_code = ERR_UNREACHABLE;
	assert_int_equal(0, check_folder(f, f->folder));
	assert_listed(f, "1,2");
	/* not asked again at once, unless somebody says so */
	f->fake->sync_code = 0;
	mail_retry_now(f->mail);
	loop_turn(f);
	fake_lock(f->fake);
	fake_add_text(f->inbox, 3, 10);
	fake_unlock(f->fake);
	assert_int_equal(0, check_folder(f, f->folder));
	assert_listed(f, "1,2,3");
}

static void test_should_fail_to_show_what_stale_forbids(void **state)
{
	struct fixture *f = start(state, 2);

	open_inbox(f);
	remount(f);
	f->config.stale_s = 0;
	fake_add_text(f->inbox, 1, 101);
	fixture_mount(f);
	f->folder = child(f, "INBOX");
	g_usleep(1100000); /* `stale` counts in seconds */
	f->fake->sync_code = ERR_TIMEOUT;
	assert_int_equal(ERR_TIMEOUT, check_folder(f, f->folder));
}

static void test_should_fail_to_list_what_was_never_known(void **state)
{
	struct fixture *f = start(state, 2);

	assert_int_equal(0, check_tree(f));
	f->folder = child(f, "INBOX");
	f->fake->sync_code = ERR_UNREACHABLE;
	assert_int_equal(ERR_UNREACHABLE, check_folder(f, f->folder));
	assert_listed(f, "");
	f->fake->sync_code = 0;
	assert_int_equal(0, check_folder(f, f->folder));
	assert_listed(f, "1,2");
}

/* ---- the tree ---- */

static void test_should_fail_to_list_folders_of_nobody(void **state)
{
	struct fixture *f = start(state, 0);

	f->fake->list_code = ERR_SIGN_IN;
	assert_int_equal(ERR_SIGN_IN, check_tree(f));
	f->fake->list_code = 0;
	assert_int_equal(0, check_tree(f));
	assert_true(has_child(f, "INBOX"));
}

static struct fake_folder *two_folders(struct fixture *f)
{
	struct fake_folder *work;

	fake_lock(f->fake);
	work = fake_folder_add(f->fake, "Work", 3);
	fake_unlock(f->fake);
	assert_int_equal(0, check_tree(f));
	assert_true(has_child(f, "Work"));
	return work;
}

static bool one_sync(struct fixture *f)
{
	return f->fake->syncs == 1;
}

static void test_a_missing_folder_goes_when_two_sessions_agree(void **state)
{
	struct fixture *f = start(state, 0);
	struct fake_folder *work = two_folders(f);

	work->hidden = true;
	assert_int_equal(0, check_tree(f));
	assert_false(has_child(f, "Work"));
	assert_true(has_child(f, "INBOX"));
	assert_int_equal(3, f->fake->lists);
	assert_int_equal(1, fixture_events(f, MAIL_EVENT_FOLDER_GONE));
}

/* Its check is the last that knows it. */
static void test_a_folder_goes_while_it_is_checked(void **state)
{
	struct fixture *f = start(state, 0);
	struct fake_folder *work = two_folders(f);
	struct mail_folder *folder = child(f, "Work");
	struct blocked blocked = {.waiter = {.done = blocked_done},
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER};
	struct error err;

	f->fake->syncs_wait_fetches = 1;
	assert_int_equal(MAIL_PARKED, mail_folder_fresh(f->mail, folder, true, &blocked.waiter, &err));
	mail_folder_unref(folder);
	wait_for(one_sync, f);
	work->hidden = true;
	assert_int_equal(0, check_tree(f));
	assert_false(has_child(f, "Work"));
	f->fake->syncs_wait_fetches = 0;
	pthread_mutex_lock(&blocked.lock);
	while (!blocked.done)
		pthread_cond_wait(&blocked.changed, &blocked.lock);
	pthread_mutex_unlock(&blocked.lock);
	assert_int_equal(ERR_GONE, blocked.code);
}

static void test_a_folder_that_comes_back_has_other_inode_numbers(void **state)
{
	struct fixture *f = start(state, 0);
	struct fake_folder *work = two_folders(f);
	uint32_t number;

	f->folder = child(f, "Work");
	assert_int_equal(0, check_folder(f, f->folder));
	number = message_number(f);
	work->hidden = true;
	assert_int_equal(0, check_tree(f));
	assert_false(has_child(f, "Work"));
	mail_folder_unref(f->folder);
	work->hidden = false;
	assert_int_equal(0, check_tree(f));
	f->folder = child(f, "Work");
	assert_int_equal(0, check_folder(f, f->folder));
	assert_int_not_equal(0, message_number(f));
	assert_int_not_equal(number, message_number(f));
}

static void test_a_missing_folder_stays_when_the_second_session_shows_it(void **state)
{
	struct fixture *f = start(state, 0);
	struct fake_folder *work = two_folders(f);

	work->hidden = true;
	f->fake->list_again_shows = true;
	assert_int_equal(0, check_tree(f));
	assert_true(has_child(f, "Work"));
	assert_int_equal(0, fixture_events(f, MAIL_EVENT_FOLDER_GONE));
}

static void test_a_missing_folder_stays_within_one_session(void **state)
{
	struct fixture *f = start(state, 0);
	struct fake_folder *work = two_folders(f);

	work->hidden = true;
	f->fake->one_session = true;
	assert_int_equal(0, check_tree(f));
	assert_int_equal(0, check_tree(f));
	assert_true(has_child(f, "Work"));
}

static void test_a_failed_list_takes_nothing_away(void **state)
{
	struct fixture *f = start(state, 0);
	struct fake_folder *work = two_folders(f);

	work->hidden = true;
	f->fake->list_code = ERR_UNREACHABLE;
	assert_int_equal(0, check_tree(f));
	assert_true(has_child(f, "Work"));
}

/* Deleted, with children that stay: it is listed still, as one that can't be opened. */
static void test_a_folder_that_holds_no_messages_any_more(void **state)
{
	struct fixture *f = start(state, 3);
	struct mail_folder_info info;

	open_inbox(f);
	fake_lock(f->fake);
	f->inbox->attributes = MAIL_FOLDER_NOSELECT;
	fake_unlock(f->fake);
	f->fake->one_session = true;
	assert_int_equal(0, check_tree(f));
	assert_listed(f, "1,2,3");
	f->fake->sessions++;
	assert_int_equal(0, check_tree(f));
	assert_listed(f, "");
	mail_folder_info(f->mail, f->folder, &info);
	assert_true(info.attributes & MAIL_FOLDER_NOSELECT);
	assert_int_equal(0, info.message_number);
	assert_int_equal(1, fixture_events(f, MAIL_EVENT_FOLDER_RESET));
	assert_int_equal(ERR_GONE, read_code(f, 2));
	/* made anew, with others in it */
	fake_lock(f->fake);
	f->inbox->attributes = 0;
	fake_clear(f->inbox);
	f->inbox->state.uidvalidity = 8;
	fake_add_text(f->inbox, 1, 10);
	fake_unlock(f->fake);
	assert_int_equal(0, check_tree(f));
	assert_int_equal(0, check_folder(f, f->folder));
	assert_listed(f, "1");
}

static void test_parents_that_are_only_implied(void **state)
{
	struct fixture *f = start(state, 0);
	struct mail_folder *parent;
	struct mail_folder_info info;

	fake_folder_add(f->fake, "A/B/C", 1);
	assert_int_equal(0, check_tree(f));
	parent = child(f, "A");
	assert_non_null(parent);
	mail_folder_info(f->mail, parent, &info);
	assert_true(info.attributes & MAIL_FOLDER_NOSELECT);
	assert_int_equal(1, info.subfolders);
	assert_int_equal(0, check_folder(f, parent));
	mail_folder_unref(parent);
	assert_int_equal(0, f->fake->syncs);
}

static void test_names_are_escaped_and_marked(void **state)
{
	struct fixture *f = start(state, 0);
	struct mail_folder *root;
	const char *name;
	unsigned marked = 0;

	fake_folder_add(f->fake, "a\001b", 1);
	fake_folder_add(f->fake, "a%01b", 2);
	fake_folder_add(f->fake, "5.eml", 3);
	assert_int_equal(0, check_tree(f));
	/* what escapes to the other's name is itself escaped */
	assert_true(has_child(f, "a%01b"));
	assert_true(has_child(f, "a%2501b"));
	assert_false(has_child(f, "5.eml"));
	root = mail_root(f->mail);
	for (uint32_t after = 0;;) {
		struct mail_folder *folder = mail_folder_next_child(f->mail, root, after, &name);
		struct mail_folder_info info;

		if (!folder)
			break;
		mail_folder_info(f->mail, folder, &info);
		after = info.number;
		assert_true(has_child(f, name));
		marked += g_str_has_prefix(name, "5.eml~") && strlen(name) == strlen("5.eml~12345678");
		mail_folder_unref(folder);
	}
	mail_folder_unref(root);
	assert_int_equal(1, marked);
}

/* ---- the watch ---- */

static bool inbox_is_watched(struct fixture *f)
{
	g_autofree char *name = fake_watched(f->fake);

	return g_strcmp0(name, "INBOX") == 0;
}

static bool nothing_is_watched(struct fixture *f)
{
	g_autofree char *name = fake_watched(f->fake);

	return !name;
}

static bool one_was_added(struct fixture *f)
{
	return fixture_events(f, MAIL_EVENT_MESSAGE_ADDED) == 1;
}

static bool two_were_added(struct fixture *f)
{
	return fixture_events(f, MAIL_EVENT_MESSAGE_ADDED) == 2;
}

static bool one_is_gone(struct fixture *f)
{
	return fixture_events(f, MAIL_EVENT_MESSAGE_GONE) == 1;
}

static struct fixture *start_watched(void **state, bool flags)
{
	struct fixture *f = *state = g_new0(struct fixture, 1);

	fixture_new(f);
	f->config.poll_s = 1000;
	f->config.flags = flags;
	for (uint32_t uid = 1; uid <= 3; uid++)
		fake_add_text(f->inbox, uid, 100 + uid);
	fixture_mount(f);
	open_inbox(f);
	wait_for(inbox_is_watched, f);
	return f;
}

static void test_what_is_told_is_checked_by_itself(void **state)
{
	struct fixture *f = start_watched(state, false);

	fake_lock(f->fake);
	fake_add_text(f->inbox, 4, 50);
	fake_unlock(f->fake);
	fake_tell(f->fake, false, false);
	wait_for(one_was_added, f);
	assert_listed(f, "1,2,3,4");
	fake_lock(f->fake);
	fake_remove(f->inbox, 2);
	fake_unlock(f->fake);
	fake_tell(f->fake, true, false);
	wait_for(one_is_gone, f);
	assert_listed(f, "1,3,4");
}

/* An opendir that comes sooner than that check waits for it. */
static void test_what_is_told_isnt_answered_from_memory(void **state)
{
	struct fixture *f = start_watched(state, false);
	unsigned syncs = f->fake->syncs;

	assert_int_equal(0, check_folder(f, f->folder));
	assert_int_equal(syncs, f->fake->syncs);
	fake_lock(f->fake);
	fake_add_text(f->inbox, 4, 50);
	fake_unlock(f->fake);
	fake_tell(f->fake, false, false);
	for (unsigned i = 0; i < 1000 && f->fake->syncs == syncs; i++)
		assert_int_equal(0, check_folder(f, f->folder));
	assert_listed(f, "1,2,3,4");
}

static void test_the_same_state_is_no_change(void **state)
{
	struct fixture *f = start_watched(state, false);
	unsigned syncs = f->fake->syncs;

	fake_tell(f->fake, true, false);
	/* nobody is shown flags, and the server has no change numbers */
	fake_tell(f->fake, false, true);
	g_usleep(300000);
	assert_int_equal(syncs, f->fake->syncs);
}

static void test_told_flags_are_asked_for_where_they_are_shown(void **state)
{
	struct fixture *f = start_watched(state, true);
	unsigned syncs = f->fake->syncs;
	struct mail_message message;

	fake_lock(f->fake);
	fake_find(f->inbox, 2)->flags = MAIL_FLAGGED;
	fake_unlock(f->fake);
	fake_tell(f->fake, false, true);
	for (unsigned i = 0; i < 5000 && f->fake->syncs == syncs; i++)
		g_usleep(1000);
	for (unsigned i = 0; i < 5000; i++) {
		assert_true(mail_message_find(f->mail, f->folder, 2, &message));
		if (message.flags == MAIL_FLAGGED)
			break;
		g_usleep(1000);
	}
	assert_int_equal(MAIL_FLAGGED, message.flags);
}

static bool it_was_told(struct fixture *f)
{
	bool told;

	fake_lock(f->fake);
	told = f->fake->tells > 0;
	fake_unlock(f->fake);
	return told;
}

static uint32_t flags_of(struct fixture *f, uint32_t uid)
{
	struct mail_message message;

	assert_true(mail_message_find(f->mail, f->folder, uid, &message));
	return message.flags;
}

/* The session that tells has just heard of it; its flags have changed since another one listed it. */
static void test_flags_of_a_message_that_is_new_to_who_tells(void **state)
{
	struct fixture *f = start_watched(state, true);

	fake_tell(f->fake, true, false);
	wait_for(it_was_told, f);
	fake_lock(f->fake);
	fake_add_text(f->inbox, 4, 50);
	fake_unlock(f->fake);
	fake_tell(f->fake, false, false);
	wait_for(one_was_added, f);
	fake_lock(f->fake);
	fake_find(f->inbox, 2)->flags = fake_find(f->inbox, 4)->flags = MAIL_FLAGGED;
	fake_unlock(f->fake);
	fake_tell(f->fake, false, false);
	for (unsigned i = 0; i < 5000 && flags_of(f, 4) != MAIL_FLAGGED; i++)
		g_usleep(1000);
	assert_int_equal(MAIL_FLAGGED, flags_of(f, 4));
	/* not all are asked for whenever a message comes */
	assert_int_equal(0, flags_of(f, 2));
}

/* It came, another session listed it, and it went before the one that tells had looked: that one has nothing to tell.
 */
static void test_what_comes_and_goes_untold(void **state)
{
	struct fixture *f = start_watched(state, false);

	fake_lock(f->fake);
	fake_add_text(f->inbox, 4, 50);
	fake_unlock(f->fake);
	fake_tell(f->fake, false, false);
	wait_for(one_was_added, f);
	fake_lock(f->fake);
	fake_remove(f->inbox, 4);
	fake_unlock(f->fake);
	wait_for(one_is_gone, f);
	assert_listed(f, "1,2,3");
}

/* The server may just be away: who reads then isn't to find that a check has found it so. */
static void test_no_connection_is_made_for_a_check_that_nobody_waits_for(void **state)
{
	struct fixture *f = start_watched(state, true);
	unsigned syncs = f->fake->syncs;

	f->fake->signed_out = true;
	fake_lock(f->fake);
	fake_add_text(f->inbox, 4, 50);
	fake_unlock(f->fake);
	fake_tell(f->fake, false, false);
	fake_tell(f->fake, false, true);
	g_usleep(300000);
	assert_int_equal(syncs, f->fake->syncs);
	f->fake->signed_out = false;
	fake_tell(f->fake, true, false);
	wait_for(one_was_added, f);
}

/* Flags may wait for ten seconds, a message doesn't. */
static void test_a_message_comes_while_flags_wait(void **state)
{
	struct fixture *f = start_watched(state, true);
	uint64_t began_ms;

	for (unsigned i = 0; i < 2; i++) {
		unsigned syncs = f->fake->syncs;

		began_ms = clock_ms();
		fake_tell(f->fake, false, true);
		for (unsigned n = 0; n < 5000 && !i && f->fake->syncs == syncs; n++)
			g_usleep(1000);
	}
	fake_lock(f->fake);
	fake_add_text(f->inbox, 4, 50);
	fake_unlock(f->fake);
	fake_tell(f->fake, false, false);
	wait_for(one_was_added, f);
	assert_true(clock_ms() - began_ms < 9000);
}

/* However fast it tells: what comes while a check is under way is one more check. */
static void test_a_server_that_tells_without_end(void **state)
{
	struct fixture *f = start_watched(state, false);
	unsigned syncs = f->fake->syncs;

	for (unsigned i = 0; i < 1000; i++)
		fake_tell(f->fake, false, false);
	fake_lock(f->fake);
	fake_add_text(f->inbox, 4, 50);
	fake_unlock(f->fake);
	wait_for(one_was_added, f);
	fake_lock(f->fake);
	fake_add_text(f->inbox, 5, 50);
	fake_unlock(f->fake);
	for (unsigned i = 0; i < 1000; i++)
		fake_tell(f->fake, false, false);
	wait_for(two_were_added, f);
	assert_in_range(f->fake->syncs - syncs, 2, 5);
}

static void test_a_folder_that_goes_isnt_watched(void **state)
{
	struct fixture *f = *state = g_new0(struct fixture, 1);
	struct fake_folder *second;

	fixture_new(f);
	second = fake_folder_add(f->fake, "Second", 8);
	fixture_mount(f);
	assert_int_equal(0, check_tree(f));
	f->folder = child(f, "Second");
	assert_int_equal(0, check_folder(f, f->folder));
	for (unsigned i = 0; i < 5000 && nothing_is_watched(f); i++)
		g_usleep(1000);
	assert_false(nothing_is_watched(f));
	second->hidden = true;
	assert_int_equal(0, check_tree(f));
	wait_for(nothing_is_watched, f);
}

/* Commands that end soon have no listener. */
static void test_without_a_listener_nothing_is_watched(void **state)
{
	struct fixture *f = start(state, 3);

	mail_set_listener(f->mail, NULL, NULL);
	open_inbox(f);
	g_usleep(800000);
	assert_true(nothing_is_watched(f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_a_listing_tells_what_the_server_told, fixture_teardown),
		cmocka_unit_test_teardown(test_new_messages_appear_and_others_go, fixture_teardown),
		cmocka_unit_test_teardown(test_all_messages_may_go, fixture_teardown),
		cmocka_unit_test_teardown(test_flags_are_fetched_where_they_are_shown, fixture_teardown),
		cmocka_unit_test_teardown(test_changed_flags_are_told, fixture_teardown),
		cmocka_unit_test_teardown(test_another_uidvalidity_is_another_folder, fixture_teardown),
		cmocka_unit_test_teardown(test_inode_numbers_dont_come_back, fixture_teardown),
		cmocka_unit_test_teardown(test_an_uidvalidity_that_is_back_in_mid_check, fixture_teardown),
		cmocka_unit_test_teardown(test_a_folder_that_comes_back_has_other_inode_numbers, fixture_teardown),
		cmocka_unit_test_teardown(test_flags_that_are_as_they_were_are_not_written, fixture_teardown),
		cmocka_unit_test_teardown(test_flags_told_twice_are_those_told_last, fixture_teardown),
		cmocka_unit_test_teardown(test_the_index_answers_a_second_mount, fixture_teardown),
		cmocka_unit_test_teardown(test_equal_numbers_of_other_messages_are_found_out, fixture_teardown),
		cmocka_unit_test_teardown(test_a_failed_check_shows_what_is_known, fixture_teardown),
		cmocka_unit_test_teardown(test_should_fail_to_show_what_stale_forbids, fixture_teardown),
		cmocka_unit_test_teardown(test_should_fail_to_list_what_was_never_known, fixture_teardown),
		cmocka_unit_test_teardown(test_should_fail_to_list_folders_of_nobody, fixture_teardown),
		cmocka_unit_test_teardown(test_a_missing_folder_goes_when_two_sessions_agree, fixture_teardown),
		cmocka_unit_test_teardown(test_a_folder_goes_while_it_is_checked, fixture_teardown),
		cmocka_unit_test_teardown(
			test_a_missing_folder_stays_when_the_second_session_shows_it, fixture_teardown),
		cmocka_unit_test_teardown(test_a_missing_folder_stays_within_one_session, fixture_teardown),
		cmocka_unit_test_teardown(test_a_failed_list_takes_nothing_away, fixture_teardown),
		cmocka_unit_test_teardown(test_a_folder_that_holds_no_messages_any_more, fixture_teardown),
		cmocka_unit_test_teardown(test_parents_that_are_only_implied, fixture_teardown),
		cmocka_unit_test_teardown(test_names_are_escaped_and_marked, fixture_teardown),
		cmocka_unit_test_teardown(test_what_is_told_is_checked_by_itself, fixture_teardown),
		cmocka_unit_test_teardown(test_what_is_told_isnt_answered_from_memory, fixture_teardown),
		cmocka_unit_test_teardown(test_the_same_state_is_no_change, fixture_teardown),
		cmocka_unit_test_teardown(test_told_flags_are_asked_for_where_they_are_shown, fixture_teardown),
		cmocka_unit_test_teardown(test_a_server_that_tells_without_end, fixture_teardown),
		cmocka_unit_test_teardown(test_flags_of_a_message_that_is_new_to_who_tells, fixture_teardown),
		cmocka_unit_test_teardown(test_what_comes_and_goes_untold, fixture_teardown),
		cmocka_unit_test_teardown(
			test_no_connection_is_made_for_a_check_that_nobody_waits_for, fixture_teardown),
		cmocka_unit_test_teardown(test_a_message_comes_while_flags_wait, fixture_teardown),
		cmocka_unit_test_teardown(test_a_folder_that_goes_isnt_watched, fixture_teardown),
		cmocka_unit_test_teardown(test_without_a_listener_nothing_is_watched, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
