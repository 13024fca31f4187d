/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is made of messages: once, of the right one, whatever happens to its folder, to the cache or to who waits. */
#include "tests/unit/effort.h"
#include "tests/unit/mail_fixture.h"

#include "src/base/limits.h"
#include "src/mime/mime.h"

#include "src/base/banned.h"

#define READERS 8u
#define MADE_LATELY 16u              /* render.c keeps so many without the cache */
#define SLOW_BYTES EFFORT(24u << 20) /* to make its text takes far longer than a check of a folder */
#define LARGE_BYTES (3u << 20)       /* an attachment in a file of its own */

/* ---- messages ---- */

static struct fake_message *add(struct fake_folder *folder, uint32_t uid, const char *word)
{
	g_autofree char *bytes = g_strdup_printf("From: a@example.org\r\nSubject: %s %u\r\n"
						 "Content-Type: text/plain; charset=utf-8\r\n"
						 "Content-Transfer-Encoding: base64\r\n\r\n",
		word, uid);
	g_autofree char *body = g_strdup_printf("the text %s of %u\r\n", word, uid);
	g_autofree char *encoded = g_base64_encode((const guchar *)body, strlen(body));
	g_autofree char *all = g_strconcat(bytes, encoded, "\r\n", NULL);

	return fake_add(folder, uid, all, strlen(all));
}

/* Large, of many lines, as HTML: slow to be made into text. */
static struct fake_message *add_slow(struct fake_folder *folder, uint32_t uid, const char *word)
{
	GString *bytes = g_string_new(NULL);
	struct fake_message *message;

	g_string_printf(bytes, "Subject: slow\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>%s</p>\r\n", word);
	while (bytes->len < SLOW_BYTES)
		g_string_append_printf(bytes, "<p><i>%zu</i> <b>slow</b></p>\r\n", bytes->len);
	message = fake_add(folder, uid, bytes->str, bytes->len);
	g_string_free(bytes, TRUE);
	return message;
}

/* Two attachments: one of `large` octets, and a small one. */
static struct fake_message *add_attachments(struct fake_folder *folder, uint32_t uid, GBytes *large)
{
	size_t length;
	const guchar *octets = g_bytes_get_data(large, &length);
	g_autofree char *encoded = g_base64_encode(octets, length);
	g_autofree char *all = g_strconcat("Subject: two\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
					   "--b\r\nContent-Type: text/plain\r\n\r\ntext\r\n"
					   "--b\r\nContent-Type: application/pdf; name=large.pdf\r\n"
					   "Content-Transfer-Encoding: base64\r\n\r\n",
		encoded,
		"\r\n--b\r\nContent-Type: text/plain\r\n"
		"Content-Disposition: attachment; filename=small.txt\r\n\r\nsmall\r\n--b--\r\n",
		NULL);

	return fake_add(folder, uid, all, strlen(all));
}

/* ---- the model ---- */

static struct fixture *prepare(void **state, unsigned messages)
{
	struct fixture *f = *state = g_new0(struct fixture, 1);

	fixture_new(f);
	for (uint32_t uid = 1; uid <= messages; uid++)
		add(f->inbox, uid, "old");
	return f;
}

static struct fixture *start(void **state, unsigned messages)
{
	struct fixture *f = prepare(state, messages);

	fixture_mount(f);
	open_inbox(f);
	return f;
}

/* Until it is mounted again; the server is a new one, with nothing. */
static void remount(struct fixture *f)
{
	fixture_unmount(f);
	f->loop = loop_new();
	f->fake = fake_new(f->loop);
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

static unsigned rendered(struct fixture *f)
{
	static const char name[] = "\nmailtree_views_rendered_total ";
	g_autofree char *text = mail_metrics_text(f->mail);
	const char *at = strstr(text, name);

	assert_non_null(at);
	return (unsigned)g_ascii_strtoull(at + strlen(name), NULL, 10);
}

/* ---- questions ---- */

static int ask_text_size(void *ctx, struct mail_waiter *waiter)
{
	struct ask *ask = ctx;

	return mail_text_size(ask->f->mail, ask->folder, ask->uid, &ask->size, waiter, &ask->err);
}

static int ask_text_read(void *ctx, struct mail_waiter *waiter)
{
	struct ask *ask = ctx;

	return mail_text_read(
		ask->f->mail, ask->folder, ask->uid, ask->offset, ask->length, &ask->slice, waiter, &ask->err);
}

static int text_size(struct fixture *f, uint32_t uid, uint64_t *size_out)
{
	struct ask ask = {.f = f, .folder = f->folder, .uid = uid};
	int code = fixture_wait(f, ask_text_size, &ask);

	*size_out = ask.size;
	return code;
}

static GBytes *slice_take(struct mail_slice *slice)
{
	char *bytes = g_malloc(slice->length + 1);
	size_t length = slice->length;

	if (slice->memory)
		memcpy(bytes, slice->memory, length);
	else if (length)
		assert_int_equal(length, pread(slice->fd, bytes, length, (off_t)slice->fd_offset));
	mail_slice_fini(slice);
	return g_bytes_new_take(bytes, length);
}

static GBytes *text_part(struct fixture *f, uint32_t uid, uint64_t offset, size_t length, int *code_out)
{
	struct ask ask = {.f = f, .folder = f->folder, .uid = uid, .offset = offset, .length = length};

	*code_out = fixture_wait(f, ask_text_read, &ask);
	return *code_out ? NULL : slice_take(&ask.slice);
}

static int text_code(struct fixture *f, uint32_t uid)
{
	int code;
	GBytes *text = text_part(f, uid, 0, 64 << 20, &code);

	if (text)
		g_bytes_unref(text);
	return code;
}

/* The text is what the octets give, and is told to be as long as it is. */
static void assert_text(struct fixture *f, uint32_t uid, GBytes *octets)
{
	size_t length;
	const char *bytes = g_bytes_get_data(octets, &length);
	g_autoptr(GBytes) expected = mime_text_render(bytes, length);
	g_autoptr(GBytes) text = NULL;
	uint64_t size;
	int code;

	assert_int_equal(0, text_size(f, uid, &size));
	assert_int_equal(g_bytes_get_size(expected), size);
	text = text_part(f, uid, 0, 64 << 20, &code);
	assert_int_equal(0, code);
	assert_true(g_bytes_equal(text, expected));
}

static uint64_t estimate(struct fixture *f, uint32_t uid, bool *exact_out)
{
	struct mail_message known;

	assert_true(mail_message_find(f->mail, f->folder, uid, &known));
	return mail_text_estimate(f->mail, f->folder, &known, exact_out);
}

struct ask_list {
	struct fixture *f;
	uint32_t uid;
	GArray *list;
};

static int try_list(void *ctx, struct mail_waiter *waiter)
{
	struct ask_list *ask = ctx;

	return mail_attachments(ask->f->mail, ask->f->folder, ask->uid, &ask->list, waiter, NULL);
}

static int list_code(struct fixture *f, uint32_t uid, GArray **list_out)
{
	struct ask_list ask = {.f = f, .uid = uid};
	int code = fixture_wait(f, try_list, &ask);

	*list_out = ask.list;
	return code;
}

struct ask_attachment {
	struct ask ask;
	unsigned index;
};

static int try_attachment(void *ctx, struct mail_waiter *waiter)
{
	struct ask_attachment *ask = ctx;

	return mail_attachment_read(ask->ask.f->mail, ask->ask.folder, ask->ask.uid, ask->index, ask->ask.offset,
		ask->ask.length, &ask->ask.slice, waiter, &ask->ask.err);
}

static GBytes *attachment_part(
	struct fixture *f, uint32_t uid, unsigned index, uint64_t offset, size_t length, int *code_out)
{
	struct ask_attachment ask = {
		.ask = {.f = f, .folder = f->folder, .uid = uid, .offset = offset, .length = length},
		.index = index,
	};

	*code_out = fixture_wait(f, try_attachment, &ask);
	return *code_out ? NULL : slice_take(&ask.ask.slice);
}

static void assert_attachment(struct fixture *f, uint32_t uid, unsigned index, GBytes *expected)
{
	int code;
	g_autoptr(GBytes) octets = attachment_part(f, uid, index, 0, 64 << 20, &code);

	assert_int_equal(0, code);
	assert_true(g_bytes_equal(octets, expected));
}

/* A reader of a text on a thread of its own. */
struct reader {
	struct fixture *f;
	GThread *thread;
	uint32_t uid;
	int code;
	GBytes *text;
};

static void *reader_run(void *data)
{
	struct reader *reader = data;

	reader->text = text_part(reader->f, reader->uid, 0, 64 << 20, &reader->code);
	return NULL;
}

static void reader_start(struct reader *reader, struct fixture *f, uint32_t uid)
{
	*reader = (struct reader){.f = f, .uid = uid};
	reader->thread = g_thread_new("reader", reader_run, reader);
}

static int reader_end(struct reader *reader)
{
	g_thread_join(reader->thread);
	if (reader->text)
		g_bytes_unref(reader->text);
	return reader->code;
}

/* A reader without a thread: it is told once, and doesn't ask again. */
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

static void parked_start(struct parked *parked, struct fixture *f, uint32_t uid)
{
	uint64_t size;

	*parked = (struct parked){.waiter = {.done = parked_done}};
	assert_int_equal(MAIL_PARKED, mail_text_size(f->mail, f->folder, uid, &size, &parked->waiter, NULL));
}

static int parked_end(struct parked *parked)
{
	gint64 until = g_get_monotonic_time() + PATIENCE_US;

	while (!g_atomic_int_get(&parked->calls)) {
		assert_true(g_get_monotonic_time() < until);
		g_usleep(1000);
	}
	return parked->code;
}

/* ---- the loop, held ---- */

struct hold {
	gint held, released;
};

static void hold_loop(void *data)
{
	struct hold *hold = data;

	g_atomic_int_set(&hold->held, 1);
	while (!g_atomic_int_get(&hold->released))
		g_usleep(100);
}

/* What is posted from now on comes in its order, and nothing in between. */
static void hold_begin(struct hold *hold, struct fixture *f)
{
	*hold = (struct hold){0};
	loop_post(f->loop, hold_loop, hold);
	while (!g_atomic_int_get(&hold->held))
		g_usleep(100);
}

static void hold_end(struct hold *hold)
{
	g_atomic_int_set(&hold->released, 1);
}

/* ---- one text ---- */

static void test_a_text_is_made_once(void **state)
{
	struct fixture *f = start(state, 2);
	bool exact;

	assert_true(estimate(f, 1, &exact) > 0);
	assert_false(exact);
	assert_int_equal(0, f->fake->fetches);
	for (int i = 0; i < 3; i++)
		assert_text(f, 1, message(f, 1)->bytes);
	assert_int_equal(1, fake_asked(f->fake, 1));
	assert_int_equal(1, rendered(f));
	estimate(f, 1, &exact);
	assert_true(exact);
	estimate(f, 2, &exact);
	assert_false(exact);
	assert_int_equal(0, fake_asked(f->fake, 2));
}

static void test_pieces_and_the_end(void **state)
{
	struct fixture *f = start(state, 1);
	size_t length;
	const char *octets = g_bytes_get_data(message(f, 1)->bytes, &length);
	g_autoptr(GBytes) expected = mime_text_render(octets, length);
	const char *text = g_bytes_get_data(expected, &length);

	for (uint64_t offset = 0; offset < length + 20; offset += 7) {
		int code;
		g_autoptr(GBytes) part = text_part(f, 1, offset, 10, &code);
		size_t rest = offset < length ? length - (size_t)offset : 0;

		assert_int_equal(0, code);
		assert_int_equal(MIN(10, rest), g_bytes_get_size(part));
		assert_memory_equal(text + MIN(offset, length), g_bytes_get_data(part, NULL), MIN(10, rest));
	}
	assert_int_equal(1, rendered(f));
}

/* A length that was told stays true: through eviction, in a later mount, without the text. */
static void test_a_size_is_exact_from_the_first_open_on(void **state)
{
	struct fixture *f = start(state, 1);
	uint64_t size, again;
	struct error err;
	bool exact;

	assert_int_equal(0, text_size(f, 1, &size));
	assert_false(mail_text_was_told(f->mail, f->folder, 1, size));
	assert_int_equal(size, estimate(f, 1, &exact));
	assert_true(exact);
	assert_int_equal(0, cache_clear(f->cache, &err));
	assert_int_equal(0, text_size(f, 1, &again));
	assert_int_equal(size, again);
	assert_text(f, 1, message(f, 1)->bytes);
}

static void test_under_trust_no_estimate_is_too_small(void **state)
{
	struct fixture *f = prepare(state, 3);

	fake_add(f->inbox, 4, "\r\n\r\n", 4);
	fake_add(f->inbox, 5, "", 0);
	f->config.sizes = MAIL_SIZES_TRUST;
	fixture_mount(f);
	open_inbox(f);
	for (uint32_t uid = 1; uid <= 5; uid++) {
		bool exact;
		uint64_t told = estimate(f, uid, &exact), size;

		assert_int_equal(0, text_size(f, uid, &size));
		assert_in_range(size, 1, told);
		assert_text(f, uid, message(f, uid)->bytes);
	}
}

static void test_a_text_is_remembered_across_mounts(void **state)
{
	struct fixture *f = start(state, 3);
	g_autoptr(GBytes) octets = g_bytes_ref(message(f, 2)->bytes);
	uint64_t size, told;
	bool exact;

	assert_int_equal(0, text_size(f, 2, &size));
	cache_flush(f->cache);
	remount(f);
	f->inbox = fake_folder_add(f->fake, "INBOX", 7);
	for (uint32_t uid = 1; uid <= 3; uid++)
		add(f->inbox, uid, "old");
	fixture_mount(f);
	open_inbox(f);
	told = estimate(f, 2, &exact);
	assert_true(exact);
	assert_int_equal(size, told);
	assert_true(mail_text_was_told(f->mail, f->folder, 2, size));
	assert_text(f, 2, octets);
	assert_int_equal(0, rendered(f));
	assert_int_equal(0, f->fake->fetches);
}

/* ---- readers beside each other ---- */

static bool one_waits(struct fixture *f)
{
	bool waits;

	fake_lock(f->fake);
	waits = f->fake->waiting.length > 0;
	fake_unlock(f->fake);
	return waits;
}

static void test_many_readers_are_one_text(void **state)
{
	struct fixture *f = start(state, 1);
	struct reader readers[READERS];

	f->fake->holds = true;
	for (unsigned i = 0; i < READERS; i++)
		reader_start(&readers[i], f, 1);
	wait_for(one_waits, f);
	fake_release(f->fake);
	for (unsigned i = 0; i < READERS; i++)
		assert_int_equal(0, reader_end(&readers[i]));
	assert_int_equal(1, fake_asked(f->fake, 1));
	assert_int_equal(1, rendered(f));
}

static void test_who_comes_while_it_is_made_waits_for_the_same(void **state)
{
	struct fixture *f = start(state, 1);
	struct parked parked[3];
	struct hold hold;

	assert_int_equal(0, read_code(f, 1));
	hold_begin(&hold, f);
	for (unsigned i = 0; i < G_N_ELEMENTS(parked); i++)
		parked_start(&parked[i], f, 1);
	hold_end(&hold);
	for (unsigned i = 0; i < G_N_ELEMENTS(parked); i++)
		assert_int_equal(0, parked_end(&parked[i]));
	assert_int_equal(1, rendered(f));
	assert_text(f, 1, message(f, 1)->bytes);
	assert_int_equal(1, rendered(f));
}

static void test_an_interrupt_ends_one_wait_alone(void **state)
{
	struct fixture *f = start(state, 1);
	struct parked first, second;
	struct reader other;

	f->fake->holds = true;
	parked_start(&first, f, 1);
	reader_start(&other, f, 1);
	wait_for(one_waits, f);
	mail_cancel(f->mail, &first.waiter);
	assert_int_equal(ERR_INTERRUPTED, parked_end(&first));
	parked_start(&second, f, 1);
	fake_release(f->fake);
	assert_int_equal(0, reader_end(&other));
	assert_int_equal(0, parked_end(&second));
	assert_int_equal(1, g_atomic_int_get(&first.calls));
}

/* All that wait for one that is being made: the text is made all the same, for who comes next. */
static void test_an_interrupt_while_it_is_made(void **state)
{
	struct fixture *f = start(state, 1);
	struct parked parked[2];
	struct hold hold;

	assert_int_equal(0, read_code(f, 1));
	hold_begin(&hold, f);
	for (unsigned i = 0; i < G_N_ELEMENTS(parked); i++)
		parked_start(&parked[i], f, 1);
	for (unsigned i = 0; i < G_N_ELEMENTS(parked); i++)
		mail_cancel(f->mail, &parked[i].waiter);
	hold_end(&hold);
	for (unsigned i = 0; i < G_N_ELEMENTS(parked); i++)
		assert_int_equal(ERR_INTERRUPTED, parked_end(&parked[i]));
	assert_text(f, 1, message(f, 1)->bytes);
	assert_int_equal(1, rendered(f));
	for (unsigned i = 0; i < G_N_ELEMENTS(parked); i++)
		assert_int_equal(1, g_atomic_int_get(&parked[i].calls));
}

/* Whoever waits is told; what a worker has in its hands is let go. */
static void test_unmounting_while_texts_are_made(void **state)
{
	struct fixture *f = prepare(state, 40);
	struct parked parked[40];

	add_slow(f->inbox, 41, "slow");
	fixture_mount(f);
	open_inbox(f);
	for (uint32_t uid = 1; uid <= 41; uid++)
		assert_int_equal(0, read_code(f, uid));
	for (uint32_t uid = 2; uid <= 41; uid++)
		parked_start(&parked[uid - 2], f, uid);
	fixture_teardown(state);
	*state = NULL;
	for (unsigned i = 0; i < G_N_ELEMENTS(parked); i++) {
		assert_int_equal(1, g_atomic_int_get(&parked[i].calls));
		assert_true(parked[i].code == 0 || parked[i].code == ERR_INTERRUPTED);
	}
}

/* ---- a message that can't be had ---- */

static void test_should_fail_what_the_server_cant_deliver(void **state)
{
	struct fixture *f = start(state, 2);
	GArray *list;
	uint64_t size;
	int code;

	trouble(f, 1, FAKE_NO_BYTES);
	assert_int_equal(ERR_BROKEN, text_size(f, 1, &size));
	assert_int_equal(ERR_BROKEN, text_code(f, 1));
	assert_int_equal(ERR_BROKEN, list_code(f, 1, &list));
	assert_null(attachment_part(f, 1, 0, 0, 100, &code));
	assert_int_equal(ERR_BROKEN, code);
	assert_text(f, 2, message(f, 2)->bytes);
	assert_int_equal(1, rendered(f));
}

static void test_a_stub_is_its_own_text(void **state)
{
	struct fixture *f = prepare(state, 1);
	GArray *list;
	GBytes *stub, *text;
	uint64_t size;
	int code;

	f->config.broken_stub = true;
	trouble(f, 1, FAKE_NO_BYTES);
	fixture_mount(f);
	open_inbox(f);
	assert_int_equal(0, text_size(f, 1, &size));
	text = text_part(f, 1, 0, 1 << 20, &code);
	assert_int_equal(0, code);
	stub = read_all(f, 1, &code);
	assert_int_equal(0, code);
	assert_true(g_bytes_equal(stub, text));
	assert_int_equal(size, g_bytes_get_size(text));
	assert_int_equal(0, list_code(f, 1, &list));
	assert_int_equal(0, list->len);
	g_array_unref(list);
	g_bytes_unref(stub);
	g_bytes_unref(text);
	assert_int_equal(0, rendered(f));
}

static void test_should_fail_without_a_way_and_recover(void **state)
{
	struct fixture *f = start(state, 1);
	GArray *list;
	uint64_t size;

	f->fake->fetch_code = ERR_UNREACHABLE;
	assert_int_equal(ERR_UNREACHABLE, text_size(f, 1, &size));
	assert_int_equal(ERR_UNREACHABLE, text_code(f, 1));
	assert_int_equal(ERR_UNREACHABLE, list_code(f, 1, &list));
	f->fake->fetch_code = 0;
	assert_text(f, 1, message(f, 1)->bytes);
	assert_int_equal(0, list_code(f, 1, &list));
	g_array_unref(list);
}

static void test_should_fail_offline(void **state)
{
	struct fixture *f = prepare(state, 1);
	GArray *list;
	uint64_t size;

	fixture_mount(f);
	open_inbox(f);
	cache_flush(f->cache);
	remount(f);
	f->config.offline = true;
	fixture_mount(f);
	f->folder = child(f, "INBOX");
	assert_int_equal(0, check_folder(f, f->folder));
	assert_int_equal(ERR_UNREACHABLE, text_size(f, 1, &size));
	assert_int_equal(ERR_UNREACHABLE, text_code(f, 1));
	assert_int_equal(ERR_UNREACHABLE, list_code(f, 1, &list));
}

static void test_what_is_expunged_is_gone(void **state)
{
	struct fixture *f = start(state, 2);
	GArray *list;
	uint64_t size;

	fake_lock(f->fake);
	fake_remove(f->inbox, 1);
	fake_unlock(f->fake);
	assert_int_equal(0, check_folder(f, f->folder));
	assert_int_equal(ERR_GONE, text_size(f, 1, &size));
	assert_int_equal(ERR_GONE, text_code(f, 1));
	assert_int_equal(ERR_GONE, list_code(f, 1, &list));
}

/* ---- a folder that changes meanwhile ---- */

/* The folder's messages are others now, under the numbers that the old ones had. */
static void make_others(struct fixture *f, struct fake_folder *folder, unsigned messages, uint32_t uidvalidity)
{
	fake_lock(f->fake);
	fake_clear(folder);
	folder->state.uidvalidity = uidvalidity;
	for (uint32_t uid = 1; uid <= messages; uid++)
		add(folder, uid, "a new one that is longer");
	fake_unlock(f->fake);
}

static void check_numbered_anew(void **state, uint32_t uidvalidity)
{
	struct fixture *f = start(state, 5);
	uint64_t size;
	GArray *list;

	for (uint32_t uid = 1; uid <= 5; uid++) {
		assert_text(f, uid, message(f, uid)->bytes);
		assert_int_equal(0, list_code(f, uid, &list));
		g_array_unref(list);
	}
	make_others(f, f->inbox, 3, uidvalidity);
	assert_int_equal(0, check_folder(f, f->folder));
	for (uint32_t uid = 1; uid <= 3; uid++) {
		bool exact;

		estimate(f, uid, &exact);
		assert_false(exact);
		assert_text(f, uid, message(f, uid)->bytes);
	}
	assert_int_equal(ERR_GONE, text_size(f, 4, &size));
}

static void test_numbered_anew(void **state)
{
	check_numbered_anew(state, 9);
}

/* UIDNEXT has fallen: the keys of the old texts are those of the new ones. */
static void test_numbered_anew_under_the_same_uidvalidity(void **state)
{
	check_numbered_anew(state, 7);
}

static void test_the_attachments_of_another_message_are_never_listed(void **state)
{
	struct fixture *f = prepare(state, 0);
	g_autoptr(GBytes) old = g_bytes_new_static("old octets", 10);
	g_autoptr(GBytes) new = g_bytes_new_static("other octets", 12);
	GArray *list;

	add_attachments(f->inbox, 1, old);
	add(f->inbox, 2, "second");
	fixture_mount(f);
	open_inbox(f);
	assert_int_equal(0, list_code(f, 1, &list));
	g_array_unref(list);
	assert_attachment(f, 1, 0, old);
	fake_lock(f->fake);
	fake_clear(f->inbox);
	add_attachments(f->inbox, 1, new);
	fake_unlock(f->fake);
	assert_int_equal(0, check_folder(f, f->folder));
	assert_int_equal(0, list_code(f, 1, &list));
	assert_int_equal(12, g_array_index(list, struct mail_attachment, 0).size_bytes);
	g_array_unref(list);
	assert_attachment(f, 1, 0, new);
}

/* While the text of a message is made its folder's messages become others: nothing of the old one is shown. */
static void check_numbered_anew_while_made(void **state, uint32_t uidvalidity)
{
	struct fixture *f = prepare(state, 0);
	struct parked parked;

	add_slow(f->inbox, 1, "slow");
	add(f->inbox, 2, "old");
	fixture_mount(f);
	open_inbox(f);
	assert_int_equal(0, read_code(f, 1));
	parked_start(&parked, f, 1);
	make_others(f, f->inbox, 1, uidvalidity);
	assert_int_equal(0, check_folder(f, f->folder));
	assert_int_equal(ERR_RENUMBERED, parked_end(&parked));
	assert_int_equal(0, rendered(f));
	/* this waits until the old one is made: it mustn't come to where the new one is looked for */
	remount(f);
	f->inbox = fake_folder_add(f->fake, "INBOX", uidvalidity);
	make_others(f, f->inbox, 1, uidvalidity);
	fixture_mount(f);
	open_inbox(f);
	assert_text(f, 1, message(f, 1)->bytes);
	assert_int_equal(1, rendered(f));
}

static void test_numbered_anew_while_a_text_is_made(void **state)
{
	check_numbered_anew_while_made(state, 9);
}

static void test_numbered_anew_while_a_text_is_made_under_the_same_uidvalidity(void **state)
{
	check_numbered_anew_while_made(state, 7);
}

static void open_second(struct fixture *f)
{
	assert_int_equal(0, check_tree(f));
	f->folder = child(f, "Second");
	assert_non_null(f->folder);
	assert_int_equal(0, check_folder(f, f->folder));
}

/* Two LISTs take it out, and nobody but who reads keeps it. */
static void test_a_folder_goes_while_a_text_is_made(void **state)
{
	struct fixture *f = prepare(state, 1);
	struct fake_folder *second = fake_folder_add(f->fake, "Second", 8);
	struct parked parked;

	add_slow(second, 1, "slow");
	fixture_mount(f);
	open_second(f);
	assert_int_equal(0, read_code(f, 1));
	parked_start(&parked, f, 1);
	second->hidden = true;
	assert_int_equal(0, check_tree(f));
	assert_int_equal(ERR_GONE, parked_end(&parked));
	mail_folder_unref(f->folder);
	open_inbox(f);
	assert_text(f, 1, message(f, 1)->bytes);
}

/* A server that numbers each folder alike: what was made of the old one's messages, and large ones that are held. */
static void test_a_folder_of_the_same_name_has_its_own_messages(void **state)
{
	struct fixture *f = prepare(state, 1);
	struct fake_folder *second = fake_folder_add(f->fake, "Second", 8);
	g_autofree char *large = g_strnfill(LARGE_BYTES, 'x');

	add(second, 1, "old");
	fake_add(second, 2, large, LARGE_BYTES);
	fixture_mount(f);
	open_second(f);
	assert_text(f, 1, fake_find(second, 1)->bytes);
	assert_int_equal(0, read_code(f, 2));
	second->hidden = true;
	assert_int_equal(0, check_tree(f));
	assert_null(child(f, "Second"));
	mail_folder_unref(f->folder);
	memset(large, 'y', LARGE_BYTES);
	fake_lock(f->fake);
	fake_clear(second);
	add(second, 1, "a new one that is longer");
	fake_add(second, 2, large, LARGE_BYTES);
	second->hidden = false;
	fake_unlock(f->fake);
	open_second(f);
	assert_text(f, 1, fake_find(second, 1)->bytes);
	assert_reads(f, 2, fake_find(second, 2)->bytes);
}

/* ---- the cache ---- */

static void forget_what_was_made_lately(struct fixture *f, uint32_t first)
{
	for (uint32_t uid = first; uid < first + MADE_LATELY; uid++)
		assert_int_equal(0, text_code(f, uid));
}

static void test_what_the_cache_has_lost_is_made_again(void **state)
{
	struct fixture *f = start(state, 1 + MADE_LATELY);
	struct error err;

	assert_text(f, 1, message(f, 1)->bytes);
	forget_what_was_made_lately(f, 2);
	assert_int_equal(0, cache_clear(f->cache, &err));
	assert_text(f, 1, message(f, 1)->bytes);
	assert_int_equal(2, fake_asked(f->fake, 1));
	assert_int_equal(2 + MADE_LATELY, rendered(f));
}

/* The octets alone have gone: the text stays, and the other way round what is there isn't fetched. */
static void test_the_text_stays_without_the_octets(void **state)
{
	struct fixture *f = start(state, 1 + MADE_LATELY);
	struct mail_folder_info info;
	struct cache_key key;

	assert_text(f, 1, message(f, 1)->bytes);
	forget_what_was_made_lately(f, 2);
	cache_flush(f->cache);
	mail_folder_info(f->mail, f->folder, &info);
	key = (struct cache_key){.folder = 1, .uidvalidity = info.uidvalidity, .uid = 1};
	cache_body_drop(f->cache, &key);
	cache_flush(f->cache);
	assert_text(f, 1, message(f, 1)->bytes);
	assert_int_equal(1, fake_asked(f->fake, 1));
	assert_int_equal(1 + MADE_LATELY, rendered(f));
}

/* A cache that holds nothing for long: who reads piece by piece ends what it began. */
static void test_a_cache_without_room(void **state)
{
	struct fixture *f = prepare(state, 40);
	g_autofree char *dir = g_build_filename(f->dir, "small", NULL);
	g_autoptr(GBytes) large = NULL;
	struct error err;

	cache_close(f->cache);
	assert_int_equal(0, cache_open(dir, "imap.example.org", 993, "user", 4096, &f->cache, &err));
	large = g_bytes_new_take(g_strnfill(LARGE_BYTES, 'x'), LARGE_BYTES);
	add_attachments(f->inbox, 41, large);
	fixture_mount(f);
	open_inbox(f);
	for (uint32_t uid = 1; uid <= 40; uid++)
		assert_text(f, uid, message(f, uid)->bytes);
	assert_int_equal(40, rendered(f));
	for (uint64_t offset = 0; offset < LARGE_BYTES; offset += LARGE_BYTES / 4) {
		int code;
		GBytes *part = attachment_part(f, 41, 0, offset, LARGE_BYTES / 4, &code);

		assert_int_equal(0, code);
		assert_int_equal(LARGE_BYTES / 4, g_bytes_get_size(part));
		g_bytes_unref(part);
	}
	/* and a text of this message, too, as texts were asked for a moment ago */
	assert_in_range(rendered(f), 41, 42);
}

/* ---- attachments ---- */

static void test_attachments(void **state)
{
	struct fixture *f = prepare(state, 0);
	g_autoptr(GBytes) large = g_bytes_new_take(g_strnfill(LARGE_BYTES, 'x'), LARGE_BYTES);
	g_autoptr(GBytes) small = g_bytes_new_static("small", 5);
	struct error err;
	GArray *list;
	int code;

	add_attachments(f->inbox, 1, large);
	add(f->inbox, 2, "none");
	fixture_mount(f);
	open_inbox(f);
	assert_int_equal(0, list_code(f, 2, &list));
	assert_int_equal(0, list->len);
	g_array_unref(list);
	assert_int_equal(0, list_code(f, 1, &list));
	assert_int_equal(2, list->len);
	assert_string_equal("large.pdf", g_array_index(list, struct mail_attachment, 0).name);
	assert_int_equal(LARGE_BYTES, g_array_index(list, struct mail_attachment, 0).size_bytes);
	assert_string_equal("small.txt", g_array_index(list, struct mail_attachment, 1).name);
	assert_int_equal(5, g_array_index(list, struct mail_attachment, 1).size_bytes);
	g_array_unref(list);
	assert_attachment(f, 1, 0, large);
	assert_attachment(f, 1, 1, small);
	assert_null(attachment_part(f, 1, 2, 0, 10, &code));
	assert_int_equal(ERR_GONE, code);
	assert_int_equal(1, fake_asked(f->fake, 1));
	assert_int_equal(0, cache_clear(f->cache, &err));
	assert_attachment(f, 1, 0, large);
}

/* ---- ahead of readers ---- */

static void test_texts_of_a_walk_are_made_once_each(void **state)
{
	struct fixture *f = prepare(state, 200);

	f->config.prefetch = true;
	fixture_mount(f);
	open_inbox(f);
	for (uint32_t uid = 1; uid <= 200; uid++)
		assert_text(f, uid, message(f, uid)->bytes);
	for (uint32_t uid = 1; uid <= 200; uid++)
		assert_int_equal(1, fake_asked(f->fake, uid));
	assert_int_equal(200, rendered(f));
}

static bool all_are_made(struct fixture *f)
{
	return rendered(f) == 400;
}

/* However many come at once: who reads on waits for none of them. */
static void test_all_that_is_fetched_ahead_is_made_ahead(void **state)
{
	struct fixture *f = prepare(state, 400);

	f->config.prefetch = true;
	fixture_mount(f);
	open_inbox(f);
	for (uint32_t uid = 1; uid <= 3; uid++)
		assert_text(f, uid, message(f, uid)->bytes);
	wait_for(all_are_made, f);
	for (uint32_t uid = 4; uid <= 400; uid++)
		assert_text(f, uid, message(f, uid)->bytes);
	assert_int_equal(400, rendered(f));
	/* nobody reads the octets: the kernel isn't given them */
	assert_int_equal(0, fixture_events(f, MAIL_EVENT_MESSAGE_BODY));
}

/* Those that wait for their turn go with their folder. */
static void test_numbered_anew_while_texts_wait_to_be_made(void **state)
{
	struct fixture *f = prepare(state, 400);

	add_slow(f->inbox, 401, "slow");
	f->config.prefetch = true;
	fixture_mount(f);
	open_inbox(f);
	for (uint32_t uid = 1; uid <= 3; uid++)
		assert_text(f, uid, message(f, uid)->bytes);
	make_others(f, f->inbox, 400, 7);
	assert_int_equal(0, check_folder(f, f->folder));
	for (uint32_t uid = 1; uid <= 400; uid++)
		assert_text(f, uid, message(f, uid)->bytes);
}

/* Nobody reads texts: bodies alone come. */
static void test_a_walk_over_octets_makes_no_text(void **state)
{
	struct fixture *f = prepare(state, 50);

	f->config.prefetch = true;
	fixture_mount(f);
	open_inbox(f);
	for (uint32_t uid = 1; uid <= 50; uid++)
		assert_int_equal(0, read_code(f, uid));
	assert_int_equal(0, rendered(f));
	assert_true(fixture_events(f, MAIL_EVENT_MESSAGE_BODY) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_a_text_is_made_once, fixture_teardown),
		cmocka_unit_test_teardown(test_pieces_and_the_end, fixture_teardown),
		cmocka_unit_test_teardown(test_a_size_is_exact_from_the_first_open_on, fixture_teardown),
		cmocka_unit_test_teardown(test_under_trust_no_estimate_is_too_small, fixture_teardown),
		cmocka_unit_test_teardown(test_a_text_is_remembered_across_mounts, fixture_teardown),
		cmocka_unit_test_teardown(test_many_readers_are_one_text, fixture_teardown),
		cmocka_unit_test_teardown(test_who_comes_while_it_is_made_waits_for_the_same, fixture_teardown),
		cmocka_unit_test_teardown(test_an_interrupt_ends_one_wait_alone, fixture_teardown),
		cmocka_unit_test_teardown(test_an_interrupt_while_it_is_made, fixture_teardown),
		cmocka_unit_test_teardown(test_unmounting_while_texts_are_made, fixture_teardown),
		cmocka_unit_test_teardown(test_should_fail_what_the_server_cant_deliver, fixture_teardown),
		cmocka_unit_test_teardown(test_a_stub_is_its_own_text, fixture_teardown),
		cmocka_unit_test_teardown(test_should_fail_without_a_way_and_recover, fixture_teardown),
		cmocka_unit_test_teardown(test_should_fail_offline, fixture_teardown),
		cmocka_unit_test_teardown(test_what_is_expunged_is_gone, fixture_teardown),
		cmocka_unit_test_teardown(test_numbered_anew, fixture_teardown),
		cmocka_unit_test_teardown(test_numbered_anew_under_the_same_uidvalidity, fixture_teardown),
		cmocka_unit_test_teardown(test_the_attachments_of_another_message_are_never_listed, fixture_teardown),
		cmocka_unit_test_teardown(test_numbered_anew_while_a_text_is_made, fixture_teardown),
		cmocka_unit_test_teardown(
			test_numbered_anew_while_a_text_is_made_under_the_same_uidvalidity, fixture_teardown),
		cmocka_unit_test_teardown(test_a_folder_goes_while_a_text_is_made, fixture_teardown),
		cmocka_unit_test_teardown(test_a_folder_of_the_same_name_has_its_own_messages, fixture_teardown),
		cmocka_unit_test_teardown(test_what_the_cache_has_lost_is_made_again, fixture_teardown),
		cmocka_unit_test_teardown(test_the_text_stays_without_the_octets, fixture_teardown),
		cmocka_unit_test_teardown(test_a_cache_without_room, fixture_teardown),
		cmocka_unit_test_teardown(test_attachments, fixture_teardown),
		cmocka_unit_test_teardown(test_texts_of_a_walk_are_made_once_each, fixture_teardown),
		cmocka_unit_test_teardown(test_all_that_is_fetched_ahead_is_made_ahead, fixture_teardown),
		cmocka_unit_test_teardown(test_numbered_anew_while_texts_wait_to_be_made, fixture_teardown),
		cmocka_unit_test_teardown(test_a_walk_over_octets_makes_no_text, fixture_teardown),
	};

	mime_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
