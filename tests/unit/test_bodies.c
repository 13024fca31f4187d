/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bodies: how they are asked for, what a bad server makes of it, and what is fetched ahead. */
#include "tests/unit/mail_fixture.h"

#include "src/base/limits.h"

#include "src/base/banned.h"

#define READERS 8u
#define LARGE_BYTES (3u << 20)

static struct fixture *prepare(void **state, unsigned messages, size_t bytes)
{
	struct fixture *f = *state = g_new0(struct fixture, 1);

	fixture_new(f);
	for (uint32_t uid = 1; uid <= messages; uid++)
		fake_add_text(f->inbox, uid, bytes);
	return f;
}

static struct fixture *start(void **state, unsigned messages, size_t bytes)
{
	struct fixture *f = prepare(state, messages, bytes);

	fixture_mount(f);
	open_inbox(f);
	return f;
}

static struct fake_message *message(struct fixture *f, uint32_t uid)
{
	return fake_find(f->inbox, uid);
}

static void trouble(struct fixture *f, uint32_t uid, enum fake_trouble kind)
{
	fake_lock(f->fake);
	message(f, uid)->trouble = kind;
	fake_unlock(f->fake);
}

/* A reader on a thread of its own. */
struct reader {
	struct fixture *f;
	struct ask ask;
	struct mail_waiter waiter;
	GThread *thread;
	uint32_t uid;
	int code;
	GBytes *bytes;
	uint64_t offset;
	size_t length;
};

static void *reader_run(void *data)
{
	struct reader *reader = data;

	reader->bytes = read_part(reader->f, reader->uid, reader->offset, reader->length, &reader->code);
	return NULL;
}

static void reader_start(struct reader *reader, struct fixture *f, uint32_t uid)
{
	*reader = (struct reader){.f = f, .uid = uid, .length = 64 << 20};
	reader->thread = g_thread_new("reader", reader_run, reader);
}

static int reader_end(struct reader *reader, GBytes *expected)
{
	g_thread_join(reader->thread);
	if (reader->bytes) {
		assert_true(g_bytes_equal(reader->bytes, expected));
		g_bytes_unref(reader->bytes);
	}
	return reader->code;
}

/* ---- one fetch ---- */

static void test_a_body_is_fetched_once(void **state)
{
	struct fixture *f = start(state, 2, 1000);
	struct mail_message known;

	for (int i = 0; i < 3; i++)
		assert_reads(f, 1, message(f, 1)->bytes);
	assert_int_equal(1, fake_asked(f->fake, 1));
	assert_int_equal(0, fake_asked(f->fake, 2));
	assert_true(mail_message_find(f->mail, f->folder, 1, &known));
	assert_true(known.size_exact);
}

static bool all_wait(struct fixture *f)
{
	/* one has asked the source; the others are at its body or on their way to it */
	return f->fake->fetches > 0;
}

static void test_many_readers_are_one_fetch(void **state)
{
	struct fixture *f = start(state, 1, 5000);
	struct reader readers[READERS];

	f->fake->holds = true;
	for (unsigned i = 0; i < READERS; i++)
		reader_start(&readers[i], f, 1);
	wait_for(all_wait, f);
	fake_release(f->fake);
	for (unsigned i = 0; i < READERS; i++)
		assert_int_equal(0, reader_end(&readers[i], message(f, 1)->bytes));
	assert_int_equal(1, fake_asked(f->fake, 1));
}

static void test_pieces_and_the_end(void **state)
{
	struct fixture *f = start(state, 1, 1000);
	int code;
	GBytes *bytes = read_part(f, 1, 990, 100, &code);
	const char *all = g_bytes_get_data(message(f, 1)->bytes, NULL);

	assert_int_equal(0, code);
	assert_int_equal(10, g_bytes_get_size(bytes));
	assert_memory_equal(all + 990, g_bytes_get_data(bytes, NULL), 10);
	g_bytes_unref(bytes);
	bytes = read_part(f, 1, 5000, 100, &code);
	assert_int_equal(0, g_bytes_get_size(bytes));
	g_bytes_unref(bytes);
}

static void test_the_uid_may_come_behind_the_octets(void **state)
{
	struct fixture *f = start(state, 2, 1000);

	trouble(f, 1, FAKE_UID_LAST);
	assert_reads(f, 1, message(f, 1)->bytes);
}

/* Pipelined commands may be answered out of order: octets are nobody's until the server says whose they are. */
static void test_octets_of_another_message_are_never_shown(void **state)
{
	static const size_t lengths[] = {1000, 3 * LIMIT_BODY_MEMORY};

	for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
		struct fixture *f = start(state, 2, lengths[i]);
		g_autofree char *foreign = g_malloc(lengths[i]);

		memset(foreign, 'x', lengths[i]);
		fake_lock(f->fake);
		message(f, 1)->other = g_bytes_new(foreign, lengths[i]);
		message(f, 1)->trouble = FAKE_FOREIGN;
		fake_unlock(f->fake);
		assert_reads(f, 1, message(f, 1)->bytes);
		fixture_teardown(state);
	}
	*state = NULL;
}

static void test_an_empty_message(void **state)
{
	struct fixture *f = prepare(state, 0, 0);
	struct ask ask = {.f = f, .uid = 1};

	fake_add(f->inbox, 1, "", 0);
	fixture_mount(f);
	open_inbox(f);
	ask.folder = f->folder;
	assert_int_equal(0, fixture_wait(f, ask_size, &ask));
	assert_int_equal(0, ask.size);
	assert_reads(f, 1, message(f, 1)->bytes);
}

static void test_a_wrong_size_is_learned_before_the_octets_are_read(void **state)
{
	struct fixture *f = prepare(state, 2, 1000);
	struct ask ask = {.f = f, .uid = 1};

	message(f, 1)->told_bytes = 7;
	fixture_mount(f);
	open_inbox(f);
	ask.folder = f->folder;
	assert_int_equal(0, fixture_wait(f, ask_size, &ask));
	assert_int_equal(1000, ask.size);
	assert_int_equal(1, fixture_events(f, MAIL_EVENT_MESSAGE_SIZE));
}

static int read_expecting(struct fixture *f, uint32_t uid, uint64_t expected)
{
	struct ask ask = {.f = f, .folder = f->folder, .uid = uid, .length = 100, .expected = expected};
	int code = fixture_wait(f, ask_read, &ask);

	if (code == 0)
		mail_slice_fini(&ask.slice);
	return code;
}

static void test_should_fail_to_read_under_a_wrong_size(void **state)
{
	struct fixture *f = start(state, 1, 1000);

	assert_int_equal(ERR_BROKEN, read_expecting(f, 1, 999));
	assert_int_equal(0, read_expecting(f, 1, 1000));
}

static void test_a_betrayed_trust_fails_one_read(void **state)
{
	struct fixture *f = prepare(state, 3, 1000);

	f->config.sizes = MAIL_SIZES_TRUST;
	f->config.prefetch = true;
	message(f, 3)->told_bytes = 600;
	fixture_mount(f);
	open_inbox(f);
	assert_true(mail_sizes_trusted(f->mail));
	/* a walk: 3 is fetched ahead, and its size corrected, before anybody reads it */
	assert_int_equal(0, read_expecting(f, 1, 1000));
	assert_int_equal(0, read_expecting(f, 2, 1000));
	assert_int_equal(0, read_code(f, 3));
	assert_int_equal(ERR_BROKEN, read_expecting(f, 3, 1000));
	assert_int_equal(0, read_expecting(f, 3, 1000));
}

/* ---- a server that fails ---- */

static bool three_walked(struct fixture *f)
{
	return fake_asked(f->fake, 3) > 0;
}

/* A bulk fetch of UIDs 3 to `last`. */
static void walk(struct fixture *f)
{
	assert_int_equal(0, read_code(f, 1));
	assert_int_equal(0, read_code(f, 2));
	wait_for(three_walked, f);
}

static void test_a_refused_bulk_is_halved(void **state)
{
	struct fixture *f = prepare(state, 16, 1000);

	f->config.prefetch = true;
	fixture_mount(f);
	open_inbox(f);
	trouble(f, 9, FAKE_REFUSED);
	walk(f);
	for (uint32_t uid = 3; uid <= 16; uid++) {
		if (uid == 9)
			assert_int_equal(ERR_BROKEN, read_code(f, uid));
		else
			assert_reads(f, uid, message(f, uid)->bytes);
	}
	assert_true(f->fake->bulk_fetches > 1);
	/* known now: not asked for again */
	unsigned asked = fake_asked(f->fake, 9);

	assert_int_equal(ERR_BROKEN, read_code(f, 9));
	assert_int_equal(asked, fake_asked(f->fake, 9));
}

static void test_should_fail_what_the_server_leaves_out(void **state)
{
	struct fixture *f = start(state, 2, 1000);
	g_autofree char *errors = NULL;

	trouble(f, 1, FAKE_OMITTED);
	assert_int_equal(ERR_BROKEN, read_code(f, 1));
	assert_int_equal(2, fake_asked(f->fake, 1));
	assert_reads(f, 2, message(f, 2)->bytes);
	errors = mail_errors_text(f->mail);
	assert_non_null(strstr(errors, "INBOX, UID 1"));
	assert_null(strstr(errors, "UID 2"));
}

static void test_a_folder_that_cant_be_checked_says_nothing_of_a_message(void **state)
{
	struct fixture *f = start(state, 1, 1000);

	trouble(f, 1, FAKE_OMITTED);
	f->fake->sync_code = ERR_UNREACHABLE;
	tick();
	assert_int_equal(ERR_UNREACHABLE, read_code(f, 1));
	f->fake->sync_code = 0;
	trouble(f, 1, FAKE_FINE);
	assert_reads(f, 1, message(f, 1)->bytes);
}

static int ask_check(void *ctx, struct mail_waiter *waiter)
{
	struct ask *ask = ctx;

	return mail_folder_fresh(ask->f->mail, ask->folder, true, waiter, &ask->err);
}

static void checked(struct mail_waiter *waiter, int code)
{
}

static void test_a_check_that_had_begun_is_no_answer(void **state)
{
	struct fixture *f = start(state, 2, 1000);
	struct ask ask = {.f = f, .folder = f->folder};
	struct mail_waiter waiter = {.done = checked};

	f->fake->syncs_wait_fetches = 2;
	tick();
	assert_int_equal(MAIL_PARKED, ask_check(&ask, &waiter));
	while (f->fake->syncs < 2)
		g_usleep(1000);
	/* it has been told the folder as it was before */
	fake_lock(f->fake);
	fake_remove(f->inbox, 1);
	fake_unlock(f->fake);
	tick();
	assert_int_equal(ERR_GONE, read_code(f, 1));
	assert_int_equal(3, f->fake->syncs);
}

static void test_should_fail_a_body_without_octets(void **state)
{
	struct fixture *f = start(state, 1, 1000);

	trouble(f, 1, FAKE_NO_BYTES);
	assert_int_equal(ERR_BROKEN, read_code(f, 1));
}

static void test_what_is_left_out_may_be_gone(void **state)
{
	struct fixture *f = start(state, 2, 1000);
	struct mail_message known;

	fake_lock(f->fake);
	fake_remove(f->inbox, 1);
	fake_unlock(f->fake);
	tick();
	assert_int_equal(ERR_GONE, read_code(f, 1));
	assert_false(mail_message_find(f->mail, f->folder, 1, &known));
	assert_true(mail_message_find(f->mail, f->folder, 2, &known));
}

static void test_a_lost_way_blames_no_message(void **state)
{
	struct fixture *f = start(state, 1, 1000);

	f->fake->fetch_code = ERR_UNREACHABLE;
	assert_int_equal(ERR_UNREACHABLE, read_code(f, 1));
	f->fake->fetch_code = 0;
	assert_reads(f, 1, message(f, 1)->bytes);
}

static void test_a_stub_stands_in(void **state)
{
	struct fixture *f = prepare(state, 1, 1000);
	int code;
	GBytes *stub;

	f->config.broken_stub = true;
	fixture_mount(f);
	open_inbox(f);
	trouble(f, 1, FAKE_OMITTED);
	stub = read_all(f, 1, &code);
	assert_int_equal(0, code);
	assert_true(g_strstr_len(g_bytes_get_data(stub, NULL), (gssize)g_bytes_get_size(stub), "could not deliver") !=
		    NULL);
	assert_int_equal(0, read_expecting(f, 1, g_bytes_get_size(stub)));
	g_bytes_unref(stub);
}

/* What stood against a message's UID says nothing of another message. */
static void test_numbered_anew_nothing_is_broken(void **state)
{
	struct fixture *f = start(state, 1, 1000);

	trouble(f, 1, FAKE_NO_BYTES);
	assert_int_equal(ERR_BROKEN, read_code(f, 1));
	fake_lock(f->fake);
	fake_clear(f->inbox);
	f->inbox->state.uidvalidity = 9;
	fake_add_text(f->inbox, 1, 900);
	fake_unlock(f->fake);
	assert_int_equal(0, check_folder(f, f->folder));
	assert_reads(f, 1, message(f, 1)->bytes);
}

static void test_numbered_anew_while_a_body_comes(void **state)
{
	struct fixture *f = start(state, 1, 1000);

	fake_lock(f->fake);
	f->inbox->state.uidvalidity = 9;
	fake_unlock(f->fake);
	assert_int_not_equal(0, read_code(f, 1));
	assert_int_equal(0, check_folder(f, f->folder));
	assert_reads(f, 1, message(f, 1)->bytes);
}

/* ---- large ones ---- */

static struct fixture *start_large(void **state, size_t cut_at, bool equal)
{
	struct fixture *f = prepare(state, 1, LARGE_BYTES);
	struct fake_message *large = message(f, 1);

	f->fake->piece_bytes = 100000;
	large->trouble = FAKE_CUT;
	large->cut_at = cut_at;
	if (!equal) {
		size_t length;
		const char *bytes = g_bytes_get_data(large->bytes, &length);
		char *other = g_memdup2(bytes, length);

		other[10] ^= 1;
		large->other = g_bytes_new_take(other, length);
	}
	fixture_mount(f);
	open_inbox(f);
	return f;
}

static bool is_cut(struct fixture *f)
{
	return fake_is_cut(f->fake);
}

static void test_a_large_body_is_read_while_it_comes(void **state)
{
	struct fixture *f = start_large(state, 2000000, true);
	struct reader whole;
	int code;
	GBytes *part;

	reader_start(&whole, f, 1);
	wait_for(is_cut, f);
	part = read_part(f, 1, 0, 1500000, &code);
	assert_int_equal(0, code);
	assert_memory_equal(g_bytes_get_data(part, NULL), g_bytes_get_data(message(f, 1)->bytes, NULL), 1500000);
	g_bytes_unref(part);
	fake_release(f->fake);
	assert_int_equal(0, reader_end(&whole, message(f, 1)->bytes));
	assert_reads(f, 1, message(f, 1)->bytes);
	assert_int_equal(1, fake_asked(f->fake, 1));
}

static void test_should_fail_a_large_body_that_is_another_after_a_cut(void **state)
{
	struct fixture *f = start_large(state, 2000000, false);
	struct reader whole;
	int code;
	GBytes *part;

	reader_start(&whole, f, 1);
	wait_for(is_cut, f);
	part = read_part(f, 1, 0, 1000, &code);
	assert_int_equal(0, code);
	g_bytes_unref(part);
	fake_release(f->fake);
	assert_int_equal(ERR_BROKEN, reader_end(&whole, message(f, 1)->bytes));
}

static void test_a_large_body_cut_before_anybody_read_it(void **state)
{
	struct fixture *f = start_large(state, 1000, true);
	struct reader whole;

	reader_start(&whole, f, 1);
	wait_for(is_cut, f);
	fake_release(f->fake);
	assert_int_equal(0, reader_end(&whole, message(f, 1)->bytes));
}

/* ---- interrupts ---- */

struct parked {
	struct mail_waiter waiter; /* first */
	gint calls;
	gint code;
};

static void parked_done(struct mail_waiter *waiter, int code)
{
	struct parked *parked = (struct parked *)waiter;

	g_atomic_int_set(&parked->code, code);
	g_atomic_int_inc(&parked->calls);
}

static void test_an_interrupt_ends_one_wait_alone(void **state)
{
	struct fixture *f = start(state, 1, 1000);
	struct parked parked = {.waiter = {.done = parked_done}};
	struct reader other;
	struct mail_slice slice;
	struct error err;
	gint64 until = g_get_monotonic_time() + PATIENCE_US;

	f->fake->holds = true;
	assert_int_equal(
		MAIL_PARKED, mail_read(f->mail, f->folder, 1, 0, 10, UINT64_MAX, &slice, &parked.waiter, &err));
	reader_start(&other, f, 1);
	wait_for(all_wait, f);
	mail_cancel(f->mail, &parked.waiter);
	mail_cancel(f->mail, &parked.waiter);
	while (!g_atomic_int_get(&parked.calls)) {
		assert_true(g_get_monotonic_time() < until);
		g_usleep(1000);
	}
	assert_int_equal(ERR_INTERRUPTED, parked.code);
	assert_int_equal(ERR_INTERRUPTED, parked.waiter.error.code);
	fake_release(f->fake);
	assert_int_equal(0, reader_end(&other, message(f, 1)->bytes));
	assert_int_equal(1, g_atomic_int_get(&parked.calls));
	mail_cancel(f->mail, &parked.waiter);
	assert_int_equal(1, g_atomic_int_get(&parked.calls));
}

/* ---- ahead of readers ---- */

static struct fixture *start_walk(void **state, unsigned messages, size_t bytes)
{
	struct fixture *f = prepare(state, messages, bytes);

	f->config.prefetch = true;
	return f;
}

static void assert_each_asked_once(struct fixture *f, uint32_t first, uint32_t last)
{
	for (uint32_t uid = first; uid <= last; uid++)
		assert_int_equal(1, fake_asked(f->fake, uid));
}

static void test_a_walk_upwards_is_fetched_ahead(void **state)
{
	struct fixture *f = start_walk(state, 40, 1000);

	fixture_mount(f);
	open_inbox(f);
	for (uint32_t uid = 1; uid <= 40; uid++)
		assert_reads(f, uid, message(f, uid)->bytes);
	assert_each_asked_once(f, 1, 40);
	assert_true(f->fake->fetches < 10);
	assert_true(f->fake->bulk_fetches > 0);
}

static void test_a_walk_downwards_is_fetched_ahead(void **state)
{
	struct fixture *f = start_walk(state, 40, 1000);

	fixture_mount(f);
	open_inbox(f);
	for (uint32_t uid = 40; uid >= 1; uid--)
		assert_reads(f, uid, message(f, uid)->bytes);
	assert_each_asked_once(f, 1, 40);
	assert_true(f->fake->fetches < 10);
}

/* The names' order is that of dates: here far from that of UIDs. */
static uint32_t shuffled(uint32_t place)
{
	return (place * 37 + 11) % 101 + 1;
}

static void test_a_walk_in_the_order_of_names_is_fetched_ahead(void **state)
{
	struct fixture *f = start_walk(state, 101, 1000);

	for (uint32_t place = 0; place < 101; place++)
		message(f, shuffled(place))->date = 1000000 + place * 3600;
	fixture_mount(f);
	open_inbox(f);
	for (uint32_t place = 0; place < 101; place++)
		assert_reads(f, shuffled(place), message(f, shuffled(place))->bytes);
	assert_each_asked_once(f, 1, 101);
	assert_true(f->fake->fetches < 20);
}

static bool some_are_fetched_ahead(struct fixture *f)
{
	return f->fake->bulk_fetches > 0;
}

static void test_who_lists_and_begins_with_the_first_walks(void **state)
{
	struct fixture *f = start_walk(state, 40, 1000);

	f->pid = 7;
	fixture_mount(f);
	open_inbox(f);
	assert_reads(f, 1, message(f, 1)->bytes);
	wait_for(some_are_fetched_ahead, f);
	for (uint32_t uid = 2; uid <= 40; uid++)
		assert_reads(f, uid, message(f, uid)->bytes);
	assert_each_asked_once(f, 1, 40);
}

static void test_the_first_of_a_list_that_another_read_is_no_walk(void **state)
{
	struct fixture *f = start_walk(state, 200, 1000);

	f->pid = 7;
	fixture_mount(f);
	open_inbox(f);
	f->pid = 8;
	assert_reads(f, 1, message(f, 1)->bytes);
	f->pid = 7;
	assert_reads(f, 150, message(f, 150)->bytes);
	assert_int_equal(0, f->fake->bulk_fetches);
}

/* It begins like a walk by UID, and isn't one. */
static void test_a_walk_that_goes_elsewhere_is_given_up(void **state)
{
	struct fixture *f = start_walk(state, 505, 10000);

	for (uint32_t place = 0; place < 505; place++)
		message(f, place * 203 % 505 + 1)->date = 1000000 + place * 3600;
	f->pid = 7;
	fixture_mount(f);
	open_inbox(f);
	for (uint32_t place = 0; place < 505; place++)
		assert_reads(f, place * 203 % 505 + 1, message(f, place * 203 % 505 + 1)->bytes);
	assert_each_asked_once(f, 1, 505);
	assert_true(f->fake->fetches < 100);
}

static void test_a_few_at_random_are_no_walk(void **state)
{
	struct fixture *f = start_walk(state, 200, 1000);

	fixture_mount(f);
	open_inbox(f);
	assert_int_equal(0, read_code(f, 150));
	assert_int_equal(0, read_code(f, 20));
	assert_int_equal(0, read_code(f, 90));
	assert_int_equal(3, f->fake->fetches);
	assert_int_equal(0, f->fake->bulk_fetches);
}

static void test_noprefetch_fetches_what_is_read(void **state)
{
	struct fixture *f = start(state, 20, 1000);

	for (uint32_t uid = 1; uid <= 20; uid++)
		assert_int_equal(0, read_code(f, uid));
	assert_int_equal(20, f->fake->fetches);
	assert_int_equal(0, f->fake->bulk_fetches);
}

static guint asked(struct fixture *f)
{
	guint count;

	fake_lock(f->fake);
	count = f->fake->asked->len;
	fake_unlock(f->fake);
	return count;
}

/* The window of a reader who has read two: so many of 100 kB are asked for, and no more. */
static void assert_first_window(struct fixture *f, guint messages, guint commands)
{
	fixture_mount(f);
	open_inbox(f);
	f->fake->holds = false;
	walk(f);
	for (unsigned i = 0; i < 1000 && asked(f) < 2 + messages; i++)
		g_usleep(10000);
	assert_int_equal(2 + messages, asked(f));
	assert_int_equal(commands, f->fake->bulk_fetches);
}

/* Each command has one that crosses its bound, a quarter of the window. */
#define SMALL_WINDOW 12u

static void test_the_first_window_is_small(void **state)
{
	assert_first_window(start_walk(state, 100, 100000), SMALL_WINDOW, 4);
}

static void test_the_first_window_of_a_fast_line_is_larger(void **state)
{
	struct fixture *f = start_walk(state, 100, 100000);

	/* 10 MB in no time */
	f->fake->listed_bytes = 100000;
	assert_first_window(f, 44, 4);
}

static void test_a_short_listing_says_nothing_of_the_line(void **state)
{
	struct fixture *f = start_walk(state, 100, 100000);

	f->fake->listed_bytes = 5000;
	assert_first_window(f, SMALL_WINDOW, 4);
}

static void test_one_command_where_the_server_takes_one_at_a_time(void **state)
{
	struct fixture *f = start_walk(state, 100, 100000);

	f->fake->bulk_at_once = 1;
	assert_first_window(f, 11, 1);
	/* the window moves with the reader, by a quarter of it and no more; each eighth hit is looked at */
	for (uint32_t uid = 3; uid <= 6; uid++)
		assert_int_equal(0, read_code(f, uid));
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(0, read_code(f, 6));
	for (unsigned i = 0; i < 1000 && asked(f) == 2 + 11; i++)
		g_usleep(10000);
	assert_in_range(asked(f), 2 + 11 + 1, 6 + 11 + 3);
}

/* The folder "Second", listed, as that of the fixture. */
static struct fake_folder *start_second(void **state, unsigned messages)
{
	struct fixture *f = start_walk(state, 40, 1000);
	struct fake_folder *second = fake_folder_add(f->fake, "Second", 8);

	for (uint32_t uid = 1; uid <= messages; uid++)
		fake_add_text(second, uid, 100000);
	fixture_mount(f);
	assert_int_equal(0, check_tree(f));
	f->folder = child(f, "Second");
	assert_int_equal(0, check_folder(f, f->folder));
	return second;
}

static void test_a_walk_ends_with_its_folder(void **state)
{
	struct fake_folder *second = start_second(state, 100);
	struct fixture *f = *state;

	assert_int_equal(0, read_code(f, 1));
	assert_int_equal(0, read_code(f, 2));
	wait_for(some_are_fetched_ahead, f);
	second->hidden = true;
	assert_int_equal(0, check_tree(f));
	mail_folder_unref(f->folder);
	/* another walk gives each that there is its turn; then all that are silent are looked for, twice */
	open_inbox(f);
	for (uint32_t uid = 1; uid <= 40; uid++)
		assert_reads(f, uid, message(f, uid)->bytes);
	g_usleep(4500000);
}

static bool one_waits(struct fixture *f)
{
	bool waits;

	fake_lock(f->fake);
	waits = f->fake->waiting.length > 0;
	fake_unlock(f->fake);
	return waits;
}

static void test_who_waits_learns_that_the_folder_has_gone(void **state)
{
	struct fake_folder *second = start_second(state, 1);
	struct fixture *f = *state;
	struct reader reader;

	f->fake->holds = true;
	reader_start(&reader, f, 1);
	wait_for(one_waits, f);
	second->hidden = true;
	assert_int_equal(0, check_tree(f));
	assert_int_equal(ERR_GONE, reader_end(&reader, NULL));
}

/* What is offered to the kernel: each has the octets that the server has, of the size that was told. */
struct offers {
	struct fixture *f;
	atomic_uint count, wrong;
};

static void note_offer(void *ctx, const struct mail_event *event)
{
	struct offers *offers = ctx;

	if (event->type != MAIL_EVENT_MESSAGE_BODY)
		return;
	atomic_fetch_add(&offers->count, 1);
	if (event->message_number == 0 || !g_bytes_equal(event->body, message(offers->f, event->message.uid)->bytes) ||
		g_bytes_get_size(event->body) != message(offers->f, event->message.uid)->told_bytes)
		atomic_fetch_add(&offers->wrong, 1);
}

/* Reads them all; how many came ahead of the reader. */
static unsigned offered(struct fixture *f)
{
	struct offers offers = {.f = f};

	fixture_mount(f);
	open_inbox(f);
	mail_set_listener(f->mail, note_offer, &offers);
	for (uint32_t uid = 1; uid <= 40; uid++)
		assert_reads(f, uid, message(f, uid)->bytes);
	mail_set_listener(f->mail, NULL, NULL);
	assert_int_equal(0, offers.wrong);
	return offers.count;
}

static void test_what_comes_ahead_is_offered(void **state)
{
	assert_in_range(offered(start_walk(state, 40, 1000)), 20, 38);
}

static void test_another_size_than_was_told_isnt_offered(void **state)
{
	struct fixture *f = start_walk(state, 40, 1000);

	for (uint32_t uid = 1; uid <= 40; uid++)
		if (uid != 30)
			message(f, uid)->told_bytes += uid % 2 ? 1 : -1;
	assert_in_range(offered(f), 0, 1);
}

/* Its reader isn't asked for, and the walk would stand still. */
static void test_where_nobody_opens_nothing_is_offered(void **state)
{
	struct fixture *f = start_walk(state, 40, 1000);

	f->config.sizes = MAIL_SIZES_TRUST;
	assert_int_equal(0, offered(f));
}

static bool the_window_is_there(struct fixture *f)
{
	return fake_asked(f->fake, 10) == 1;
}

/* Far more than four times the first window. */
static bool much_is_asked_for(struct fixture *f)
{
	return fake_asked(f->fake, 100) == 1;
}

/* Who opens them, and reads what the kernel has, asks for no octets, and misses nothing. */
static void test_opening_moves_a_walk_on(void **state)
{
	struct fixture *f = start_walk(state, 200, 100000);
	struct ask ask = {.f = f};

	fixture_mount(f);
	open_inbox(f);
	ask.folder = f->folder;
	walk(f);
	wait_for(the_window_is_there, f);
	for (ask.uid = 3; ask.uid <= 11; ask.uid++)
		assert_int_equal(0, fixture_wait(f, ask_size, &ask));
	wait_for(much_is_asked_for, f);
}

static void test_cached_ones_are_not_fetched_again_by_a_walk(void **state)
{
	struct fixture *f = start_walk(state, 30, 1000);

	fixture_mount(f);
	open_inbox(f);
	assert_int_equal(0, read_code(f, 20));
	for (uint32_t uid = 1; uid <= 30; uid++)
		assert_reads(f, uid, message(f, uid)->bytes);
	assert_each_asked_once(f, 1, 30);
}

/* ---- limits ---- */

static void test_should_fail_beyond_daily_bytes(void **state)
{
	struct fixture *f = prepare(state, 5, 1000);

	f->config.daily_bytes = 2500;
	fixture_mount(f);
	open_inbox(f);
	assert_int_equal(0, read_code(f, 1));
	assert_int_equal(0, read_code(f, 2));
	assert_int_equal(ERR_QUOTA, read_code(f, 3));
	assert_int_equal(0, read_code(f, 1));
	assert_int_equal(2, f->fake->fetches);
}

static void test_a_walk_stops_at_daily_bytes(void **state)
{
	struct fixture *f = start_walk(state, 50, 1000);

	f->config.daily_bytes = 10000;
	fixture_mount(f);
	open_inbox(f);
	for (uint32_t uid = 1; uid <= 9; uid++)
		assert_int_equal(0, read_code(f, uid));
	fake_lock(f->fake);
	assert_true(f->fake->asked->len <= 10);
	fake_unlock(f->fake);
}

static void test_should_fail_offline(void **state)
{
	struct fixture *f = start(state, 2, 1000);

	assert_int_equal(0, read_code(f, 1));
	cache_flush(f->cache);
	fixture_unmount(f);
	f->loop = loop_new();
	f->fake = fake_new(f->loop);
	f->config.offline = true;
	fixture_mount(f);
	f->folder = child(f, "INBOX");
	assert_int_equal(0, check_folder(f, f->folder));
	assert_int_equal(0, read_code(f, 1));
	assert_int_equal(ERR_UNREACHABLE, read_code(f, 2));
	assert_int_equal(0, f->fake->lists + f->fake->syncs + f->fake->fetches);
}

/* ---- eol = lf ---- */

static GBytes *with_lf(GBytes *bytes)
{
	size_t length;
	const char *from = g_bytes_get_data(bytes, &length);
	char *to = g_malloc(length + 1);
	size_t kept = 0;

	for (size_t i = 0; i < length; i++)
		if (!(from[i] == '\r' && i + 1 < length && from[i + 1] == '\n'))
			to[kept++] = from[i];
	return g_bytes_new_take(to, kept);
}

static void assert_reads_lf(struct fixture *f, uint32_t uid)
{
	GBytes *expected = with_lf(message(f, uid)->bytes);
	struct ask ask = {.f = f, .folder = f->folder, .uid = uid};

	assert_int_equal(0, fixture_wait(f, ask_size, &ask));
	assert_int_equal(g_bytes_get_size(expected), ask.size);
	assert_reads(f, uid, expected);
	g_bytes_unref(expected);
}

static void test_lines_end_in_lf(void **state)
{
	static const char *const texts[] = {
		"", "\r", "\n", "\r\n", "a\r\nb\r\n", "a\rb\r\r\n\n\r", "\r\r\r\n", "no end"};
	struct fixture *f = prepare(state, 0, 0);

	f->config.eol_lf = true;
	f->fake->piece_bytes = 1;
	for (uint32_t i = 0; i < G_N_ELEMENTS(texts); i++)
		fake_add(f->inbox, i + 1, texts[i], strlen(texts[i]));
	fixture_mount(f);
	open_inbox(f);
	for (uint32_t i = 0; i < G_N_ELEMENTS(texts); i++)
		assert_reads_lf(f, i + 1);
}

static void test_lines_of_a_large_message_end_in_lf(void **state)
{
	struct fixture *f = prepare(state, 0, 0);
	g_autofree char *bytes = g_malloc(LARGE_BYTES);

	/* line ends at each place about the pieces' bounds, CRs of their own among them */
	for (size_t i = 0; i < LARGE_BYTES; i++)
		bytes[i] = "\r\n\rx\r\n"[(i + i / 65536) % 6];
	bytes[LARGE_BYTES - 1] = '\r';
	fake_add(f->inbox, 1, bytes, LARGE_BYTES);
	f->config.eol_lf = true;
	f->fake->piece_bytes = 65535;
	fixture_mount(f);
	open_inbox(f);
	assert_reads_lf(f, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_a_body_is_fetched_once, fixture_teardown),
		cmocka_unit_test_teardown(test_many_readers_are_one_fetch, fixture_teardown),
		cmocka_unit_test_teardown(test_pieces_and_the_end, fixture_teardown),
		cmocka_unit_test_teardown(test_the_uid_may_come_behind_the_octets, fixture_teardown),
		cmocka_unit_test(test_octets_of_another_message_are_never_shown),
		cmocka_unit_test_teardown(test_an_empty_message, fixture_teardown),
		cmocka_unit_test_teardown(test_a_wrong_size_is_learned_before_the_octets_are_read, fixture_teardown),
		cmocka_unit_test_teardown(test_should_fail_to_read_under_a_wrong_size, fixture_teardown),
		cmocka_unit_test_teardown(test_a_betrayed_trust_fails_one_read, fixture_teardown),
		cmocka_unit_test_teardown(test_a_refused_bulk_is_halved, fixture_teardown),
		cmocka_unit_test_teardown(test_should_fail_what_the_server_leaves_out, fixture_teardown),
		cmocka_unit_test_teardown(
			test_a_folder_that_cant_be_checked_says_nothing_of_a_message, fixture_teardown),
		cmocka_unit_test_teardown(test_a_check_that_had_begun_is_no_answer, fixture_teardown),
		cmocka_unit_test_teardown(test_should_fail_a_body_without_octets, fixture_teardown),
		cmocka_unit_test_teardown(test_what_is_left_out_may_be_gone, fixture_teardown),
		cmocka_unit_test_teardown(test_a_lost_way_blames_no_message, fixture_teardown),
		cmocka_unit_test_teardown(test_a_stub_stands_in, fixture_teardown),
		cmocka_unit_test_teardown(test_numbered_anew_nothing_is_broken, fixture_teardown),
		cmocka_unit_test_teardown(test_numbered_anew_while_a_body_comes, fixture_teardown),
		cmocka_unit_test_teardown(test_a_large_body_is_read_while_it_comes, fixture_teardown),
		cmocka_unit_test_teardown(test_should_fail_a_large_body_that_is_another_after_a_cut, fixture_teardown),
		cmocka_unit_test_teardown(test_a_large_body_cut_before_anybody_read_it, fixture_teardown),
		cmocka_unit_test_teardown(test_an_interrupt_ends_one_wait_alone, fixture_teardown),
		cmocka_unit_test_teardown(test_a_walk_upwards_is_fetched_ahead, fixture_teardown),
		cmocka_unit_test_teardown(test_a_walk_downwards_is_fetched_ahead, fixture_teardown),
		cmocka_unit_test_teardown(test_a_walk_in_the_order_of_names_is_fetched_ahead, fixture_teardown),
		cmocka_unit_test_teardown(test_who_lists_and_begins_with_the_first_walks, fixture_teardown),
		cmocka_unit_test_teardown(test_the_first_of_a_list_that_another_read_is_no_walk, fixture_teardown),
		cmocka_unit_test_teardown(test_a_walk_that_goes_elsewhere_is_given_up, fixture_teardown),
		cmocka_unit_test_teardown(test_a_few_at_random_are_no_walk, fixture_teardown),
		cmocka_unit_test_teardown(test_noprefetch_fetches_what_is_read, fixture_teardown),
		cmocka_unit_test_teardown(test_the_first_window_is_small, fixture_teardown),
		cmocka_unit_test_teardown(test_the_first_window_of_a_fast_line_is_larger, fixture_teardown),
		cmocka_unit_test_teardown(test_a_short_listing_says_nothing_of_the_line, fixture_teardown),
		cmocka_unit_test_teardown(test_one_command_where_the_server_takes_one_at_a_time, fixture_teardown),
		cmocka_unit_test_teardown(test_a_walk_ends_with_its_folder, fixture_teardown),
		cmocka_unit_test_teardown(test_who_waits_learns_that_the_folder_has_gone, fixture_teardown),
		cmocka_unit_test_teardown(test_what_comes_ahead_is_offered, fixture_teardown),
		cmocka_unit_test_teardown(test_another_size_than_was_told_isnt_offered, fixture_teardown),
		cmocka_unit_test_teardown(test_where_nobody_opens_nothing_is_offered, fixture_teardown),
		cmocka_unit_test_teardown(test_opening_moves_a_walk_on, fixture_teardown),
		cmocka_unit_test_teardown(test_cached_ones_are_not_fetched_again_by_a_walk, fixture_teardown),
		cmocka_unit_test_teardown(test_should_fail_beyond_daily_bytes, fixture_teardown),
		cmocka_unit_test_teardown(test_a_walk_stops_at_daily_bytes, fixture_teardown),
		cmocka_unit_test_teardown(test_should_fail_offline, fixture_teardown),
		cmocka_unit_test_teardown(test_lines_end_in_lf, fixture_teardown),
		cmocka_unit_test_teardown(test_lines_of_a_large_message_end_in_lf, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
