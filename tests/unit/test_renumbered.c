/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A folder numbered anew by a server that has names for its messages: which bodies are asked for again. */
#include "tests/unit/mail_fixture.h"

#include "src/base/limits.h"

#include "src/base/banned.h"

#define LARGE_BYTES (3u << 20)

static const char *const ids[] = {"Mzero", "Mone", "Mtwo", "Mthree", "Mfour", "Mfive"};

/* A message's text and date follow from what it is, not from its number. */
static struct fake_message *add(struct fixture *f, uint32_t uid, uint32_t what, size_t length)
{
	g_autofree char *text = g_malloc(length + 1);
	struct fake_message *message;

	for (size_t i = 0; i < length; i++)
		text[i] = i % 50 == 48 ? '\r' : i % 50 == 49 ? '\n' : (char)('a' + (i / 251 + what) % 26);
	message = fake_add(f->inbox, uid, text, length);
	message->date = 1000000 + what;
	message->emailid = ids[what];
	return message;
}

static void prepare(void **state)
{
	struct fixture *f = *state = g_new0(struct fixture, 1);

	fixture_new(f);
	for (uint32_t what = 1; what <= 4; what++)
		add(f, what, what, 1000);
}

static struct fixture *start(void **state)
{
	struct fixture *f;

	prepare(state);
	f = *state;
	fixture_mount(f);
	open_inbox(f);
	return f;
}

static void read_some(struct fixture *f, uint32_t last)
{
	for (uint32_t uid = 1; uid <= last; uid++)
		assert_reads(f, uid, fake_find(f->inbox, uid)->bytes);
	g_array_set_size(f->fake->asked, 0);
}

/* 4, a new one, 2, 1, 3 */
static void number_anew(struct fixture *f, uint32_t uidvalidity, size_t length)
{
	fake_lock(f->fake);
	fake_clear(f->inbox);
	f->inbox->state.uidvalidity = uidvalidity;
	add(f, 2, 4, length);
	add(f, 3, 5, length);
	add(f, 5, 2, length);
	add(f, 6, 1, length);
	add(f, 9, 3, length);
	fake_unlock(f->fake);
}

static void assert_asked(struct fixture *f, const char *expected)
{
	g_autoptr(GString) text = g_string_new(NULL);

	fake_lock(f->fake);
	for (guint i = 0; i < f->fake->asked->len; i++)
		g_string_append_printf(text, "%s%u", text->len ? "," : "", g_array_index(f->fake->asked, uint32_t, i));
	fake_unlock(f->fake);
	assert_string_equal(text->str, expected);
}

/* Every message is read, and is what the server has. */
static void read_all_now(struct fixture *f)
{
	for (guint i = 0; i < f->inbox->messages->len; i++) {
		const struct fake_message *message = &g_array_index(f->inbox->messages, struct fake_message, i);

		assert_reads(f, message->uid, message->bytes);
	}
}

static void test_bodies_follow_their_messages(void **state)
{
	struct fixture *f = start(state);

	read_some(f, 4);
	number_anew(f, 8, 1000);
	assert_int_equal(0, check_folder(f, f->folder));
	read_all_now(f);
	assert_asked(f, "3");
	/* again and again */
	for (uint32_t uidvalidity = 9; uidvalidity < 15; uidvalidity++) {
		g_array_set_size(f->fake->asked, 0);
		number_anew(f, uidvalidity, 1000);
		assert_int_equal(0, check_folder(f, f->folder));
		read_all_now(f);
		assert_asked(f, "");
	}
}

static void test_in_another_process(void **state)
{
	struct fixture *f = start(state);

	read_some(f, 3);
	cache_flush(f->cache);
	fixture_unmount(f);
	f->loop = loop_new();
	f->fake = fake_new(f->loop);
	f->inbox = fake_folder_add(f->fake, "INBOX", 7);
	number_anew(f, 8, 1000);
	fixture_mount(f);
	open_inbox(f);
	read_all_now(f);
	assert_asked(f, "2,3");
}

static void test_large_ones_and_lines(void **state)
{
	struct fixture *f;

	prepare(state);
	f = *state;
	fake_clear(f->inbox);
	for (uint32_t what = 1; what <= 4; what++)
		add(f, what, what, LARGE_BYTES);
	fixture_mount(f);
	open_inbox(f);
	read_some(f, 4);
	number_anew(f, 8, LARGE_BYTES);
	assert_int_equal(0, check_folder(f, f->folder));
	read_all_now(f);
	assert_asked(f, "3");
}

static void expect_lines(struct fixture *f, uint32_t uid, size_t length)
{
	int code;
	GBytes *bytes = read_all(f, uid, &code);

	assert_int_equal(0, code);
	assert_int_equal(length / 50 * 49, g_bytes_get_size(bytes));
	g_bytes_unref(bytes);
}

static void test_lines_that_are_turned(void **state)
{
	struct fixture *f;

	prepare(state);
	f = *state;
	f->config.eol_lf = true;
	fake_clear(f->inbox);
	add(f, 1, 1, 1000);
	add(f, 2, 2, 3000000);
	fixture_mount(f);
	open_inbox(f);
	expect_lines(f, 1, 1000);
	expect_lines(f, 2, 3000000);
	fake_lock(f->fake);
	fake_clear(f->inbox);
	f->inbox->state.uidvalidity = 8;
	add(f, 2, 1, 1000);
	add(f, 3, 2, 3000000);
	g_array_set_size(f->fake->asked, 0);
	fake_unlock(f->fake);
	assert_int_equal(0, check_folder(f, f->folder));
	expect_lines(f, 2, 1000);
	expect_lines(f, 3, 3000000);
	assert_asked(f, "");
}

static void busy(void *data)
{
	struct fixture *f = data;

	while (!atomic_load(&f->fake->holds))
		g_usleep(1000);
}

static void *let_go(void *data)
{
	struct fixture *f = data;

	g_usleep(20000);
	f->fake->holds = true;
	return NULL;
}

/* What an open is told, the next stat says too: a kernel that hears of two sizes pads a file with zeros. */
static void test_sizes_are_known_with_the_answer(void **state)
{
	struct fixture *f;
	struct ask ask;
	struct mail_message message;
	GThread *thread;

	prepare(state);
	f = *state;
	f->config.eol_lf = true;
	fixture_mount(f);
	open_inbox(f);
	expect_lines(f, 1, 1000);
	number_anew(f, 8, 1000);
	assert_int_equal(0, check_folder(f, f->folder));
	ask = (struct ask){.f = f, .folder = f->folder, .uid = 6};
	/* while the loop, which alone writes it down, has other things to do */
	loop_post(f->loop, busy, f);
	thread = g_thread_new("let-go", let_go, f);
	assert_int_equal(0, fixture_wait(f, ask_size, &ask));
	assert_true(mail_message_find(f->mail, f->folder, 6, &message));
	assert_true(message.size_exact);
	assert_int_equal(ask.size, message.size_bytes);
	assert_int_equal(ask.size, 980);
	g_thread_join(thread);
}

static void test_a_check_that_fails_half_way(void **state)
{
	struct fixture *f = start(state);

	read_some(f, 4);
	number_anew(f, 8, 1000);
	f->fake->sync_end_code = ERR_UNREACHABLE;
	assert_int_equal(ERR_UNREACHABLE, check_folder(f, f->folder));
	assert_int_not_equal(0, read_code(f, 1));
	f->fake->sync_end_code = 0;
	assert_int_equal(0, check_folder(f, f->folder));
	g_array_set_size(f->fake->asked, 0);
	read_all_now(f);
	assert_asked(f, "3");
}

static void test_a_session_lost_in_the_middle(void **state)
{
	struct fixture *f = start(state);

	read_some(f, 4);
	number_anew(f, 8, 1000);
	f->inbox->renumbered = 9;
	assert_int_equal(0, check_folder(f, f->folder));
	read_all_now(f);
	assert_asked(f, "3");
	/* and one that had told of a change only */
	fake_lock(f->fake);
	add(f, 12, 0, 1000);
	f->inbox->renumbered = 10;
	fake_unlock(f->fake);
	g_array_set_size(f->fake->asked, 0);
	assert_int_equal(0, check_folder(f, f->folder));
	read_all_now(f);
	assert_asked(f, "12");
}

static void test_the_same_uidvalidity(void **state)
{
	struct fixture *f = start(state);

	read_some(f, 4);
	fake_lock(f->fake);
	fake_clear(f->inbox);
	add(f, 1, 5, 1000);
	add(f, 2, 2, 1000);
	add(f, 3, 1, 1000);
	fake_unlock(f->fake);
	assert_int_equal(0, check_folder(f, f->folder));
	read_all_now(f);
	/* what has another number under an UIDVALIDITY that should have told so isn't looked for */
	assert_asked(f, "1,3");
}

/* ---- what a server may do wrong ---- */

typedef void (*wrong_fn)(struct fixture *f);

static void same_id_now(struct fixture *f)
{
	fake_find(f->inbox, 5)->emailid = fake_find(f->inbox, 6)->emailid;
}

static void ids_swapped_and_sizes_tell(struct fixture *f)
{
	fake_clear(f->inbox);
	add(f, 2, 4, 1100);
	add(f, 5, 2, 1100);
	add(f, 6, 1, 1000);
	fake_find(f->inbox, 2)->emailid = ids[2];
	fake_find(f->inbox, 5)->emailid = ids[4];
}

static void none_now(struct fixture *f)
{
	for (guint i = 0; i < f->inbox->messages->len; i++)
		g_array_index(f->inbox->messages, struct fake_message, i).emailid = NULL;
}

static void drafts_now(struct fixture *f)
{
	for (guint i = 0; i < f->inbox->messages->len; i++)
		g_array_index(f->inbox->messages, struct fake_message, i).flags |= MAIL_DRAFT;
}

static void sizes_that_nobody_knows(struct fixture *f)
{
	for (guint i = 0; i < f->inbox->messages->len; i++)
		g_array_index(f->inbox->messages, struct fake_message, i).told_bytes = 0;
}

static const struct {
	const char *what;
	wrong_fn wrong;
	const char *asked;
} wrongs[] = {
	{"one id for two", same_id_now, "3,5,6"},
	{"ids swapped", ids_swapped_and_sizes_tell, "2,5"},
	{"no ids any more", none_now, "2,3,5,6,9"},
	{"drafts", drafts_now, "2,3,5,6,9"},
	{"sizes unknown", sizes_that_nobody_knows, "2,3,5,6,9"},
};

static void test_what_is_in_doubt_is_fetched(void **state)
{
	for (size_t i = 0; i < G_N_ELEMENTS(wrongs); i++) {
		struct fixture *f = start(state);

		print_message("%s\n", wrongs[i].what);
		read_some(f, 4);
		number_anew(f, 8, 1000);
		fake_lock(f->fake);
		wrongs[i].wrong(f);
		fake_unlock(f->fake);
		assert_int_equal(0, check_folder(f, f->folder));
		read_all_now(f);
		assert_asked(f, wrongs[i].asked);
		fixture_teardown(state);
		*state = NULL;
	}
}

/* The mailbox was made anew behind our back, with the numbers of the old one, and then numbered anew. */
static void test_octets_of_another_message_than_was_listed(void **state)
{
	struct fixture *f = start(state);
	GBytes *other;

	fake_lock(f->fake);
	fake_clear(f->inbox);
	for (uint32_t what = 1; what <= 4; what++)
		add(f, 5 - what, what, 1000);
	other = g_bytes_ref(fake_find(f->inbox, 1)->bytes);
	fake_unlock(f->fake);
	/* nobody knows yet: what UID 1 is now is read under the name of what it was */
	assert_reads(f, 1, other);
	g_bytes_unref(other);
	g_array_set_size(f->fake->asked, 0);
	number_anew(f, 8, 1000);
	assert_int_equal(0, check_folder(f, f->folder));
	read_all_now(f);
	assert_asked(f, "2,3,5,6,9");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_bodies_follow_their_messages, fixture_teardown),
		cmocka_unit_test_teardown(test_in_another_process, fixture_teardown),
		cmocka_unit_test_teardown(test_large_ones_and_lines, fixture_teardown),
		cmocka_unit_test_teardown(test_lines_that_are_turned, fixture_teardown),
		cmocka_unit_test_teardown(test_sizes_are_known_with_the_answer, fixture_teardown),
		cmocka_unit_test_teardown(test_a_check_that_fails_half_way, fixture_teardown),
		cmocka_unit_test_teardown(test_a_session_lost_in_the_middle, fixture_teardown),
		cmocka_unit_test_teardown(test_the_same_uidvalidity, fixture_teardown),
		cmocka_unit_test_teardown(test_what_is_in_doubt_is_fetched, fixture_teardown),
		cmocka_unit_test_teardown(test_octets_of_another_message_than_was_listed, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
