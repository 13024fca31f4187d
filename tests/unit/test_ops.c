/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The filesystem's operations on a model of our own, without FUSE: meaning, waits, listings, invalidations. */
#include "tests/unit/ops_fixture.h"

#include "fs/fill.h"
#include "fs/names.h"
#include "fs/notify.h"
#include "fs/retry.h"
#include "fs/task.h"
#include "src/base/loop.h"

#include <stdio.h>

#include "src/base/banned.h"

/* ---- names ---- */

static void test_lookup(void **state)
{
	struct house *house = house_new(&(struct fake_options){.delay_ms = {[FAKE_FOLDER] = 1}});
	struct ops_entry entry;

	fake_message_add(house->mail, house->inbox, 5, 1000, 900, false);
	fake_message_add(house->mail, house->inbox, 6, 1000, 1000, true);
	assert_int_equal(lookup(house, NODE_ROOT_INO, "INBOX", &entry), 0);
	assert_int_equal(entry.nodeid, INBOX_INO);
	assert_int_equal(entry.stat.st_mode, S_IFDIR | 0500);
	/* its listing isn't known: neither are its attributes for good */
	assert_true(entry.attr_timeout == 0);
	assert_int_equal(fake_count(house->mail, FAKE_FOLDER), 0);

	/* no message can have these names: nothing is loaded for them */
	assert_int_equal(lookup(house, INBOX_INO, "Makefile", &entry), 0);
	assert_int_equal(entry.nodeid, 0);
	assert_true(entry.entry_timeout > 0);
	assert_int_equal(lookup(house, INBOX_INO, ".5.eml", &entry), 0);
	assert_int_equal(entry.nodeid, 0);
	assert_true(entry.entry_timeout == 0);
	assert_int_equal(fake_count(house->mail, FAKE_FOLDER), 0);

	assert_int_equal(lookup(house, INBOX_INO, "5.eml", &entry), 0);
	assert_int_equal(fake_count(house->mail, FAKE_FOLDER), 1);
	assert_int_equal(entry.nodeid, MAIL_INO(5));
	assert_int_equal(entry.stat.st_ino, MAIL_INO(5));
	assert_int_equal(entry.stat.st_mode, S_IFREG | 0400);
	assert_int_equal(entry.stat.st_size, 900);
	assert_int_equal(entry.stat.st_blocks, 2);
	assert_int_equal(entry.stat.st_nlink, 1);
	assert_int_equal(entry.stat.st_mtime, entry.stat.st_ctime);
	/* an estimate is kept, too: open takes it back */
	assert_true(entry.attr_timeout > 0 && entry.entry_timeout > 0);
	assert_false(ops_size_was_told(&house->ops, MAIL_INO(5), 900));
	assert_int_equal(lookup(house, INBOX_INO, "6.eml", &entry), 0);
	assert_true(entry.attr_timeout > 0);
	assert_true(ops_size_was_told(&house->ops, MAIL_INO(6), 1000));
	assert_false(ops_size_was_told(&house->ops, MAIL_INO(6), 1001));

	assert_int_equal(lookup(house, INBOX_INO, "7.eml", &entry), 0);
	assert_int_equal(entry.nodeid, 0);
	assert_true(entry.entry_timeout == 0);
	/* no messages in the root */
	assert_int_equal(lookup(house, NODE_ROOT_INO, "5.eml", &entry), 0);
	assert_int_equal(entry.nodeid, 0);
	assert_int_equal(lookup(house, MAIL_INO(5), "x", &entry), -ENOTDIR);
	assert_int_equal(lookup(house, (uint64_t)99 << 32, "x", &entry), -ESTALE);
	g_autofree char *long_name = g_strnfill(OPS_NAME_BYTES_MAX + 1, 'x');
	assert_int_equal(lookup(house, INBOX_INO, long_name, &entry), -ENAMETOOLONG);
	house_free(house);
}

static void test_dot_names_wake_nobody(void **state)
{
	struct house *house = house_new(&(struct fake_options){.delay_ms = {[FAKE_TREE] = FAKE_HANGS}});
	struct ops_entry entry;

	assert_int_equal(lookup(house, NODE_ROOT_INO, ".git", &entry), 0);
	assert_int_equal(entry.nodeid, 0);
	assert_true(entry.entry_timeout == 0);
	assert_int_equal(lookup(house, NODE_ROOT_INO, ".mailtree", &entry), 0);
	assert_int_equal(entry.nodeid, CONTROL_DIR_INO);
	assert_int_equal(lookup(house, CONTROL_DIR_INO, "status.json", &entry), 0);
	assert_int_equal(fake_count(house->mail, FAKE_TREE), 0);
	house_free(house);
}

static void test_folder_wins(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	struct ops_entry entry;

	fake_message_add(house->mail, house->inbox, 5, 1000, 1000, true);
	fake_folder_add(house->mail, house->inbox, "5.eml", 12, 0);
	assert_int_equal(lookup(house, INBOX_INO, "5.eml", &entry), 0);
	assert_int_equal(entry.nodeid, (uint64_t)12 << 32);
	house_free(house);
}

static void test_reset_is_stale(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	uint64_t size, handle;
	struct mail_waiter waiter = {0};
	struct stat attributes;
	double timeout;
	GBytes *bytes;

	fake_message_add(house->mail, house->inbox, 5, 1000, 1000, true);
	assert_int_equal(ops_getattr(&house->ops, MAIL_INO(5), &attributes, &timeout), 0);
	assert_int_equal(opendir_now(house, INBOX_INO, &handle), 0);
	fake_folder_reset(house->mail, house->inbox, 1234);
	fake_message_add(house->mail, house->inbox, 5, 2000, 2000, true);
	assert_int_equal(ops_getattr(&house->ops, MAIL_INO(5), &attributes, &timeout), -ESTALE);
	assert_int_equal(ops_open(&house->ops, MAIL_INO(5), MOUNTER, &waiter, &size), -ESTALE);
	assert_int_equal(read_now(house, MAIL_INO(5), 0, 10, 1000, &bytes), -ENOENT);
	assert_int_equal(ops_readdir(&house->ops, INBOX_INO, handle, 0, 10, NULL, NULL), -ESTALE);
	house_free(house);
}

/* ---- content ---- */

static void assert_body(struct house *house, uint32_t uid, uint64_t offset, size_t length, uint64_t size, uint64_t told)
{
	g_autoptr(GBytes) bytes = NULL;
	g_autofree char *truth = g_malloc(length + 1);
	size_t expected = offset < size ? (size_t)MIN(length, size - offset) : 0;

	assert_int_equal(read_now(house, MAIL_INO(uid), offset, length, told, &bytes), 0);
	fake_body(uid, offset, truth, length);
	assert_int_equal(g_bytes_get_size(bytes), expected);
	assert_memory_equal(g_bytes_get_data(bytes, NULL), truth, expected);
}

static void read_all_ways(bool in_file)
{
	struct house *house = house_new(
		&(struct fake_options){.in_file = in_file, .delay_ms = {[FAKE_SIZE] = 1, [FAKE_BODY] = 1}});
	struct mail_waiter waiter = {0};
	struct call call;
	uint64_t size;

	fake_message_add(house->mail, house->inbox, 5, 10000, 9000, false);
	call_init(&call);
	assert_int_equal(ops_open(&house->ops, MAIL_INO(5), MOUNTER, &call.waiter, &size), MAIL_PARKED);
	assert_int_equal(call_wait(&call), 0);
	assert_int_equal(ops_open(&house->ops, MAIL_INO(5), MOUNTER, &call.waiter, &size), 0);
	assert_int_equal(size, 10000);
	/* now that it is exact nothing is asked again */
	assert_int_equal(ops_open(&house->ops, MAIL_INO(5), MOUNTER, &waiter, &size), 0);
	assert_int_equal(fake_count(house->mail, FAKE_SIZE), 1);
	assert_body(house, 5, 0, 4096, 10000, 10000);
	assert_body(house, 5, 8192, 4096, 10000, 10000);
	assert_body(house, 5, 10000, 4096, 10000, 10000);
	assert_body(house, 5, UINT64_MAX - 1, 4096, 10000, 10000);
	house_free(house);
}

static void test_read_memory(void **state)
{
	read_all_ways(false);
}

static void test_read_file(void **state)
{
	read_all_ways(true);
}

/* A size that proves wrong while the read waits is wrong for this read, above and below. */
static void test_lie_fails_the_read(void **state)
{
	for (int above = 0; above < 2; above++) {
		struct house *house = house_new(&(struct fake_options){.trusted = true, .delay_ms = {[FAKE_BODY] = 1}});
		GBytes *bytes;

		fake_message_add(house->mail, house->inbox, 5, 1000, above ? 1100 : 900, false);
		assert_int_equal(read_now(house, MAIL_INO(5), 0, 4096, UINT64_MAX, &bytes), -EIO);
		assert_body(house, 5, 0, 4096, 1000, UINT64_MAX);
		house_free(house);
	}
}

static void test_retries(void **state)
{
	struct retries retries;

	retries_init(&retries);
	assert_int_equal(retries_take(&retries, 1, 10, 0), 0);
	retries_remember(&retries, 1, 10, EIO, 0);
	assert_int_equal(retries_take(&retries, 1, 11, 0), 0);
	assert_int_equal(retries_take(&retries, 2, 10, 0), 0);
	assert_int_equal(retries_take(&retries, 1, 10, RETRY_MS - 1), EIO);
	assert_int_equal(retries_take(&retries, 1, 10, RETRY_MS - 1), 0);
	retries_remember(&retries, 1, 10, EIO, 0);
	assert_int_equal(retries_take(&retries, 1, 10, RETRY_MS), 0);
	for (unsigned i = 0; i < 3 * RETRY_SLOTS; i++)
		retries_remember(&retries, i, 10, ETIMEDOUT, 0);
	assert_int_equal(retries_take(&retries, 2 * RETRY_SLOTS - 1, 10, 0), 0);
	for (unsigned i = 2 * RETRY_SLOTS; i < 3 * RETRY_SLOTS; i++)
		assert_int_equal(retries_take(&retries, i, 10, 0), ETIMEDOUT);
	retries_fini(&retries);
}

/* ---- control files ---- */

static void test_control(void **state)
{
	struct house *house = house_new(&(struct fake_options){.delay_ms = {[FAKE_REFRESH] = 1}});
	struct ops_entry first, second, refresh;
	g_autoptr(GBytes) one = NULL;
	g_autoptr(GBytes) two = NULL;
	g_autoptr(GBytes) line = NULL;
	struct mail_waiter waiter = {0};
	uint64_t size;

	assert_int_equal(lookup(house, CONTROL_DIR_INO, "status.json", &first), 0);
	assert_int_equal(lookup(house, CONTROL_DIR_INO, "status.json", &second), 0);
	/* one file, two moments */
	assert_int_equal(first.stat.st_ino, second.stat.st_ino);
	assert_true(first.nodeid != second.nodeid && first.entry_timeout == 0);
	assert_int_equal(first.stat.st_mode, S_IFREG | 0400);
	assert_int_equal(read_now(house, first.nodeid, 0, 4096, UINT64_MAX, &one), 0);
	assert_int_equal(read_now(house, second.nodeid, 0, 4096, UINT64_MAX, &two), 0);
	assert_false(g_bytes_equal(one, two));
	assert_int_equal(g_bytes_get_size(one), first.stat.st_size);
	assert_int_equal(lookup(house, CONTROL_DIR_INO, "refresh", &refresh), 0);
	assert_int_equal(fake_count(house->mail, FAKE_REFRESH), 0);
	assert_int_equal(read_now(house, refresh.nodeid, 0, 4096, UINT64_MAX, &line), 0);
	assert_int_equal(g_bytes_get_size(line), strlen("checked 2 folders\n"));
	assert_int_equal(lookup(house, CONTROL_DIR_INO, "nothing", &refresh), -ENOENT);

	ops_forget(&house->ops, first.nodeid, 1);
	assert_int_equal(ops_open(&house->ops, second.nodeid, MOUNTER, &waiter, &size), 0);
	g_autoptr(GBytes) forgotten = NULL;
	assert_int_equal(read_now(house, first.nodeid, 0, 4096, UINT64_MAX, &forgotten), -ENOENT);

	/* nobody else's, whatever allow_other says */
	struct ops_entry entry;
	uint64_t handle;
	assert_int_equal(ops_lookup(&house->ops, CONTROL_DIR_INO, "status.json", 1001, &waiter, &entry), -EACCES);
	assert_int_equal(ops_opendir(&house->ops, CONTROL_DIR_INO, 1001, &waiter, &handle), -EACCES);
	assert_int_equal(ops_open(&house->ops, second.nodeid, 1001, &waiter, &size), -EACCES);
	assert_int_equal(ops_lookup(&house->ops, CONTROL_DIR_INO, "status.json", 0, &waiter, &entry), 0);
	house_free(house);
}

/* ---- listings ---- */

static void read_some(struct house *house, uint64_t handle, struct reader *reader, unsigned room)
{
	reader->room = room;
	assert_int_equal(ops_readdir(&house->ops, INBOX_INO, handle, reader->at, room, reader_add, reader), 0);
}

static unsigned count_of(const struct reader *reader, const char *end)
{
	unsigned count = 0;

	for (guint i = 0; i < reader->names->len; i++)
		count += g_str_has_suffix(reader->names->pdata[i], end);
	return count;
}

static void test_listing_under_change(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	struct reader reader = {.names = g_ptr_array_new_with_free_func(g_free)};
	uint64_t handle;

	for (uint32_t uid = 10; uid <= 5000; uid += 10)
		fake_message_add(house->mail, house->inbox, uid, 100, 100, true);
	fake_folder_add(house->mail, house->inbox, "Sub", 3, 0);
	struct mail_folder *gone = fake_folder_add(house->mail, house->inbox, "Gone", 4, 0);
	fake_folder_add(house->mail, house->inbox, "Last", 0x3FFFFFFF, 0);
	assert_int_equal(opendir_now(house, INBOX_INO, &handle), 0);
	read_some(house, handle, &reader, 1);
	read_some(house, handle, &reader, 2);
	fake_folder_remove(house->mail, gone);
	fake_folder_add(house->mail, house->inbox, "Before", 2, 0);
	read_some(house, handle, &reader, 100);
	/* behind and before where the reader stands */
	fake_message_remove(house->mail, house->inbox, 10);
	fake_message_remove(house->mail, house->inbox, 4000);
	fake_message_add(house->mail, house->inbox, 1, 100, 100, true);
	fake_message_add(house->mail, house->inbox, 4001, 100, 100, true);
	for (guint before = 0; before != reader.names->len;) {
		before = reader.names->len;
		read_some(house, handle, &reader, 70);
	}
	assert_string_equal(reader.names->pdata[0], ".");
	assert_string_equal(reader.names->pdata[1], "..");
	assert_int_equal(count_of(&reader, "Sub"), 1);
	assert_int_equal(count_of(&reader, "Gone"), 0);
	assert_int_equal(count_of(&reader, "Last"), 1);
	assert_int_equal(count_of(&reader, ".10.eml"), 1);
	assert_int_equal(count_of(&reader, ".4000.eml"), 0);
	assert_int_equal(count_of(&reader, ".4001.eml"), 1);
	assert_int_equal(count_of(&reader, ".eml"), 500);
	/* nobody lists .mailtree */
	assert_int_equal(count_of(&reader, "mailtree"), 0);
	g_ptr_array_unref(reader.names);
	house_free(house);
}

static void test_maildir(void **state)
{
	struct house *house = house_new(&(struct fake_options){.delay_ms = {[FAKE_FOLDER] = 1}});
	const uint64_t cur = INBOX_INO | 1, new = INBOX_INO | 2;
	const char *const name = "1767225900.F4000004dU5.mailtree:2,S";
	struct ops_entry entry;
	struct stat attributes;
	double timeout;

	house->ops.maildir = true;
	fake_message_add(house->mail, house->inbox, 5, 1000, 1000, true);
	fake_folder_add(house->mail, house->inbox, "Sub", 3, 0);
	fake_folder_add(house->mail, NULL, "Only", 4, MAIL_FOLDER_NOSELECT);

	/* the directory itself tells no messages: nothing is loaded for it */
	assert_int_equal(lookup(house, NODE_ROOT_INO, "INBOX", &entry), 0);
	assert_int_equal(entry.stat.st_nlink, 2 + 3 + 1);
	g_autofree char *inbox = list_all(house, INBOX_INO);
	assert_string_equal(inbox, ". .. cur new tmp Sub");
	assert_int_equal(lookup(house, INBOX_INO, "5.eml", &entry), 0);
	assert_int_equal(entry.nodeid, 0);
	assert_int_equal(lookup(house, INBOX_INO, "cur", &entry), 0);
	assert_int_equal(entry.nodeid, cur);
	assert_int_equal(entry.stat.st_nlink, 2);
	assert_true(entry.attr_timeout == 0);
	assert_int_equal(fake_count(house->mail, FAKE_FOLDER), 0);

	g_autofree char *messages = list_all(house, cur);
	g_autofree char *expected = g_strdup_printf(". .. %s", name);
	assert_string_equal(messages, expected);
	assert_int_equal(lookup(house, cur, name, &entry), 0);
	assert_int_equal(entry.nodeid, MAIL_INO(5));
	assert_true(entry.entry_timeout > 0);
	/* with the flags of another time, and under the name of the other layout */
	assert_int_equal(lookup(house, cur, "1767225900.F4000004dU5.mailtree:2,FS", &entry), 0);
	assert_int_equal(entry.nodeid, MAIL_INO(5));
	assert_true(entry.entry_timeout == 0);
	assert_int_equal(lookup(house, cur, "5.eml", &entry), 0);
	assert_int_equal(entry.nodeid, MAIL_INO(5));
	assert_int_equal(lookup(house, cur, "1767225900.F4000004dU6.mailtree:2,S", &entry), 0);
	assert_int_equal(entry.nodeid, 0);
	assert_true(entry.entry_timeout == 0);

	assert_int_equal(ops_getattr(&house->ops, cur, &attributes, &timeout), 0);
	assert_true(timeout > 0 && timeout < 10);
	time_t before = attributes.st_mtime;
	fake_message_flag(house->mail, house->inbox, 5, MAIL_FLAGGED);
	assert_int_equal(ops_getattr(&house->ops, cur, &attributes, &timeout), 0);
	assert_int_not_equal(attributes.st_mtime, before);

	g_autofree char *nothing = list_all(house, new);
	assert_string_equal(nothing, ". ..");
	assert_int_equal(lookup(house, new, name, &entry), 0);
	assert_int_equal(entry.nodeid, 0);
	assert_int_equal(ops_getattr(&house->ops, new, &attributes, &timeout), 0);
	assert_int_equal(attributes.st_mtime, 0);
	/* what holds folders only, and the root, have no such parts */
	g_autofree char *only = list_all(house, (uint64_t)4 << 32);
	assert_string_equal(only, ". ..");
	g_autofree char *root = list_all(house, NODE_ROOT_INO);
	assert_string_equal(root, ". .. Only INBOX");
	assert_int_equal(lookup(house, NODE_ROOT_INO, "cur", &entry), 0);
	assert_int_equal(entry.nodeid, 0);
	/* four isn't one of the three */
	assert_int_equal(ops_getattr(&house->ops, INBOX_INO | 4, &attributes, &timeout), -ESTALE);
	house_free(house);
}

static void test_search(void **state)
{
	struct house *house = house_new(&(struct fake_options){.delay_ms = {[FAKE_SEARCH] = 1}});
	struct mail_folder *sub = fake_folder_add(house->mail, house->inbox, "Sub", 3, 0);
	const char *const name = "2026-01-01T0005_olena@contoso.com_Рахунок.5.eml";
	struct reader reader = {.names = g_ptr_array_new_with_free_func(g_free), .room = 100};
	struct ops_entry root, query, entry;
	uint64_t handle;
	char *target;

	fake_message_add(house->mail, house->inbox, 5, 1000, 1000, true);
	fake_message_add(house->mail, house->inbox, 6, 1000, 1000, true);
	fake_message_add(house->mail, sub, 6, 1000, 1000, true);
	fake_found_add(house->mail, house->inbox, 5);
	fake_found_add(house->mail, house->inbox, 6);
	fake_found_add(house->mail, sub, 6);

	assert_int_equal(lookup(house, CONTROL_DIR_INO, "search", &root), 0);
	assert_int_equal(root.stat.st_mode, S_IFDIR | 0500);
	g_autofree char *nothing = list_all(house, root.nodeid);
	assert_string_equal(nothing, ". ..");
	/* dots never search, and what is written wrongly is a mistake */
	assert_int_equal(lookup(house, root.nodeid, ".git", &entry), 0);
	assert_int_equal(entry.nodeid, 0);
	assert_int_equal(lookup(house, root.nodeid, "form:x", &entry), -EINVAL);
	assert_int_equal(lookup(house, root.nodeid, "100%", &entry), -EINVAL);
	assert_int_equal(lookup(house, root.nodeid, "a%2Gb", &entry), -EINVAL);
	assert_int_equal(lookup(house, root.nodeid, "a%2Fb%25", &entry), 0);
	assert_int_equal(lookup(house, root.nodeid, "рахунок", &query), 0);
	assert_int_equal(query.stat.st_mode, S_IFDIR | 0500);
	assert_false(ops_listing_is_told(&house->ops, query.nodeid));
	assert_true(ops_listing_is_told(&house->ops, root.nodeid));
	assert_int_equal(fake_count(house->mail, FAKE_SEARCH), 0);
	/* no message is called so */
	assert_int_equal(lookup(house, query.nodeid, "desktop.ini", &entry), 0);
	assert_int_equal(entry.nodeid, 0);
	assert_int_equal(fake_count(house->mail, FAKE_SEARCH), 0);

	assert_int_equal(opendir_now(house, query.nodeid, &handle), 0);
	assert_int_equal(ops_readdir(&house->ops, query.nodeid, handle, 0, 100, reader_add, &reader), 0);
	assert_int_equal(fake_count(house->mail, FAKE_SEARCH), 1);
	assert_int_equal(reader.names->len, 2 + 3);
	assert_string_equal(reader.names->pdata[2], name);
	/* both of them, whichever was first */
	assert_string_equal(reader.names->pdata[3], "2026-01-01T0006_olena@contoso.com_Рахунок.6~0000004d.eml");
	assert_string_equal(reader.names->pdata[4], "2026-01-01T0006_olena@contoso.com_Рахунок.6~00000003.eml");

	assert_int_equal(lookup(house, query.nodeid, name, &entry), 0);
	assert_int_equal(entry.stat.st_mode, S_IFLNK | 0777);
	assert_int_equal(ops_readlink(&house->ops, entry.nodeid, &target), 0);
	assert_string_equal(target, "../../../INBOX/2026-01-01T0005_olena@contoso.com_Рахунок.5.eml");
	assert_int_equal(entry.stat.st_size, strlen(target));
	g_free(target);
	ops_forget(&house->ops, entry.nodeid, 1);
	assert_int_equal(ops_readlink(&house->ops, entry.nodeid, &target), -ESTALE);
	assert_int_equal(lookup(house, query.nodeid, reader.names->pdata[4], &entry), 0);
	assert_int_equal(ops_readlink(&house->ops, entry.nodeid, &target), 0);
	assert_string_equal(target, "../../../INBOX/Sub/2026-01-01T0006_olena@contoso.com_Рахунок.6.eml");
	g_free(target);
	/* not without its mark, and not with one where there is no clash */
	assert_int_equal(lookup(house, query.nodeid, "2026-01-01T0006_olena@contoso.com_Рахунок.6.eml", &entry), 0);
	assert_int_equal(entry.nodeid, 0);
	assert_int_equal(
		lookup(house, query.nodeid, "2026-01-01T0005_olena@contoso.com_Рахунок.5~0000004d.eml", &entry), 0);
	assert_int_equal(entry.nodeid, 0);

	/* a reader that stands in results which have gone */
	assert_int_equal(ops_readdir(&house->ops, query.nodeid, handle, 0, 100, reader_add, &reader), -ESTALE);
	assert_int_equal(opendir_now(house, query.nodeid, &handle), 0);
	fake_message_remove(house->mail, house->inbox, 5);
	g_ptr_array_set_size(reader.names, 0);
	reader.at = 0;
	reader.room = 100;
	assert_int_equal(ops_readdir(&house->ops, query.nodeid, handle, 0, 100, reader_add, &reader), 0);
	assert_int_equal(reader.names->len, 2 + 2);
	fake_set_code(house->mail, FAKE_SEARCH, ERR_UNREACHABLE);
	struct call call;
	call_init(&call);
	assert_int_equal(ops_opendir(&house->ops, query.nodeid, MOUNTER, &call.waiter, &handle), MAIL_PARKED);
	assert_int_equal(call_wait(&call), ERR_UNREACHABLE);
	g_ptr_array_unref(reader.names);
	house_free(house);
}

static void test_listing_fails_whole(void **state)
{
	struct house *house = house_new(&(struct fake_options){.delay_ms = {[FAKE_FOLDER] = 1}});
	struct call call;
	uint64_t handle;

	fake_set_code(house->mail, FAKE_FOLDER, ERR_UNREACHABLE);
	call_init(&call);
	assert_int_equal(ops_opendir(&house->ops, INBOX_INO, MOUNTER, &call.waiter, &handle), MAIL_PARKED);
	assert_int_equal(call_wait(&call), ERR_UNREACHABLE);
	/* who reads all the same isn't told that the folder is empty */
	assert_int_equal(
		ops_readdir(&house->ops, INBOX_INO, INBOX | FAKE_MESSAGE_NUMBER, 0, 10, reader_add, NULL), -ESTALE);
	house_free(house);
}

/* ---- attributes that aren't stat's ---- */

static void test_xattrs(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	g_autofree char *value = NULL;
	g_autofree char *flags = NULL;
	g_autofree char *names = NULL;
	g_autofree char *subject = NULL;
	char *none;
	size_t length;
	bool has_to = false;

	fake_message_add(house->mail, house->inbox, 5, 1000, 1000, true);
	assert_int_equal(ops_getxattr(&house->ops, MAIL_INO(5), "user.mail.uid", &value), 0);
	assert_string_equal(value, "5");
	assert_int_equal(ops_getxattr(&house->ops, MAIL_INO(5), "user.mail.flags", &flags), 0);
	assert_string_equal(flags, "\\Seen $MDNSent");
	assert_int_equal(ops_getxattr(&house->ops, MAIL_INO(5), "user.mail.subject", &subject), 0);
	assert_int_equal(strlen(subject), OPS_XATTR_BYTES_MAX);
	assert_int_equal(ops_getxattr(&house->ops, MAIL_INO(5), "user.mail.to", &none), -ENODATA);
	assert_int_equal(ops_getxattr(&house->ops, MAIL_INO(5), "security.selinux", &none), -ENODATA);
	assert_int_equal(ops_getxattr(&house->ops, MAIL_INO(6), "user.mail.uid", &none), -ENOENT);
	assert_int_equal(ops_getxattr(&house->ops, INBOX_INO, "user.mail.uid", &none), -ENODATA);
	assert_int_equal(ops_listxattr(&house->ops, MAIL_INO(5), &names, &length), 0);
	for (const char *at = names; at < names + length; at += strlen(at) + 1)
		has_to |= strcmp(at, "user.mail.to") == 0;
	assert_false(has_to);
	house_free(house);
}

static void test_statfs(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	struct statvfs statvfs;

	ops_statfs(&house->ops, &statvfs);
	assert_int_equal(statvfs.f_blocks * statvfs.f_frsize, 4 << 20);
	assert_int_equal(statvfs.f_bavail * statvfs.f_frsize, 3 << 20);
	house_free(house);
}

/* ---- tasks: each is answered once, whatever races ---- */

#define TASKS 400u

struct tried {
	struct task task; /* must be first */
	struct house *house;
	uint32_t uid;
	uint64_t told;
	atomic_int answers;
	int result;
	pthread_mutex_t lock; /* as libfuse's, around its interrupt function */
	bool interruptible;
};

static int tried_step(struct task *task)
{
	struct tried *tried = (struct tried *)task;
	struct ops_data data;
	int result = ops_read(&tried->house->ops, MAIL_INO(tried->uid), 0, 10, &tried->told, &task->waiter, &data);

	if (result == 0)
		ops_data_fini(&data);
	return result;
}

static void tried_park(struct task *task)
{
	struct tried *tried = (struct tried *)task;

	pthread_mutex_lock(&tried->lock);
	tried->interruptible = true;
	pthread_mutex_unlock(&tried->lock);
}

static void tried_finish(struct task *task, int result)
{
	struct tried *tried = (struct tried *)task;

	pthread_mutex_lock(&tried->lock);
	tried->interruptible = false;
	pthread_mutex_unlock(&tried->lock);
	tried->result = result;
	atomic_fetch_add(&tried->answers, 1);
}

static void tried_init(struct tried *tried, struct house *house, uint32_t uid)
{
	*tried = (struct tried){.house = house, .uid = uid, .told = 1000};
	tried->task.step = tried_step;
	tried->task.park = tried_park;
	tried->task.finish = tried_finish;
	pthread_mutex_init(&tried->lock, NULL);
}

static void tried_interrupt(struct tried *tried)
{
	pthread_mutex_lock(&tried->lock);
	if (tried->interruptible)
		task_interrupt(&tried->task);
	pthread_mutex_unlock(&tried->lock);
}

struct storm {
	struct tasks *tasks;
	struct tried *tried;
	unsigned from;
	bool interrupts;
};

static void *storm_run(void *data)
{
	struct storm *storm = data;

	for (unsigned i = storm->from; i < TASKS; i += 2) {
		if (storm->interrupts)
			tried_interrupt(&storm->tried[(i * 7) % TASKS]);
		else
			task_run(storm->tasks, &storm->tried[i].task);
	}
	return NULL;
}

static void test_tasks_answer_once(void **state)
{
	struct house *house = house_new(&(struct fake_options){.racy = true});
	struct tried *tried = g_new0(struct tried, TASKS);
	struct tasks tasks;
	pthread_t threads[4];
	struct storm storms[4];
	struct call call;

	call_init(&call);
	while (mail_folder_ready(house->mail, house->inbox, &call.waiter, NULL) == MAIL_PARKED)
		assert_int_equal(call_wait(&call), 0);
	tasks_init(&tasks, house->mail);
	for (unsigned i = 0; i < TASKS; i++) {
		fake_message_add(house->mail, house->inbox, i + 1, 1000, 1000, true);
		tried_init(&tried[i], house, i + 1);
	}
	for (unsigned i = 0; i < 4; i++) {
		storms[i] = (struct storm){.tasks = &tasks, .tried = tried, .from = i % 2, .interrupts = i >= 2};
		assert_int_equal(pthread_create(&threads[i], NULL, storm_run, &storms[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	tasks_stop(&tasks);
	for (unsigned i = 0; i < TASKS; i++) {
		assert_int_equal(atomic_load(&tried[i].answers), 1);
		assert_true(tried[i].result == 0 || tried[i].result == -EINTR);
		pthread_mutex_destroy(&tried[i].lock);
	}
	assert_int_equal(fake_parked(house->mail), 0);
	tasks_fini(&tasks);
	g_free(tried);
	house_free(house);
}

static void test_tasks_interrupt_and_stop(void **state)
{
	struct house *house = house_new(&(struct fake_options){.delay_ms = {[FAKE_BODY] = FAKE_HANGS}});
	struct tried tried[3];
	struct tasks tasks;

	tasks_init(&tasks, house->mail);
	for (uint32_t i = 0; i < 3; i++) {
		fake_message_add(house->mail, house->inbox, i + 1, 1000, 1000, true);
		tried_init(&tried[i], house, i + 1);
	}
	task_run(&tasks, &tried[0].task);
	task_run(&tasks, &tried[1].task);
	assert_int_equal(atomic_load(&tried[0].answers), 0);
	tried_interrupt(&tried[0]);
	while (!atomic_load(&tried[0].answers))
		g_usleep(100);
	assert_int_equal(tried[0].result, -EINTR);
	assert_int_equal(atomic_load(&tried[1].answers), 0);
	tasks_stop(&tasks);
	assert_int_equal(tried[1].result, -EINTR);
	/* nothing waits any more */
	task_run(&tasks, &tried[2].task);
	tasks_stop(&tasks);
	assert_int_equal(atomic_load(&tried[2].answers), 1);
	assert_int_equal(tried[2].result, -EINTR);
	tasks_fini(&tasks);
	house_free(house);
}

struct endless {
	struct task task; /* must be first */
	struct mail *mail;
	struct mail_folder *folder;
	atomic_int answers;
	int result;
};

static int endless_step(struct task *task)
{
	struct endless *endless = (struct endless *)task;
	char *line = NULL;
	int code = mail_refresh(endless->mail, &task->waiter, &line, NULL);

	/* as if something had changed each time */
	g_free(line);
	return code == 0 ? endless_step(task) : code;
}

static void endless_park(struct task *task)
{
}

static void endless_finish(struct task *task, int result)
{
	struct endless *endless = (struct endless *)task;

	endless->result = result;
	atomic_fetch_add(&endless->answers, 1);
}

static void test_tasks_dont_park_for_ever(void **state)
{
	struct house *house = house_new(&(struct fake_options){.delay_ms = {[FAKE_REFRESH] = 1}});
	struct endless endless = {
		.task = {.step = endless_step, .park = endless_park, .finish = endless_finish}, .mail = house->mail};
	struct tasks tasks;

	tasks_init(&tasks, house->mail);
	task_run(&tasks, &endless.task);
	while (!atomic_load(&endless.answers))
		g_usleep(1000);
	assert_int_equal(endless.result, -EIO);
	assert_in_range(fake_count(house->mail, FAKE_REFRESH), MAIL_PARKS_MAX, MAIL_PARKS_MAX + 2);
	tasks_stop(&tasks);
	tasks_fini(&tasks);
	house_free(house);
}

/* ---- invalidations ---- */

struct told {
	pthread_mutex_t lock; /* all below */
	GString *text;
	unsigned notes;
	bool blocked;
};

static void told_add(struct told *told, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void told_add(struct told *told, const char *format, ...)
{
	va_list args;

	for (;;) {
		pthread_mutex_lock(&told->lock);
		if (!told->blocked)
			break;
		pthread_mutex_unlock(&told->lock);
		g_usleep(500);
	}
	va_start(args, format);
	told->notes++;
	if (told->text->len < 4096)
		g_string_append_vprintf(told->text, format, args);
	va_end(args);
	pthread_mutex_unlock(&told->lock);
}

static void told_attributes(void *ctx, uint64_t ino)
{
	told_add(ctx, "attributes %" G_GINT64_MODIFIER "x\n", ino);
}

static void told_content(void *ctx, uint64_t ino)
{
	told_add(ctx, "content %" G_GINT64_MODIFIER "x\n", ino);
}

static void told_entry(void *ctx, uint64_t parent, const char *name)
{
	told_add(ctx, "entry %" G_GINT64_MODIFIER "x %s\n", parent, name);
}

static void told_deleted(void *ctx, uint64_t parent, uint64_t child, const char *name)
{
	told_add(ctx, "deleted %" G_GINT64_MODIFIER "x %" G_GINT64_MODIFIER "x %s\n", parent, child, name);
}

static const struct notify_sink told_sink = {
	.attributes = told_attributes, .content = told_content, .entry = told_entry, .deleted = told_deleted};

static void settle(struct notify *notify)
{
	while (!notify_is_idle(notify))
		g_usleep(500);
}

static void assert_told(struct notify *notify, struct told *told, const char *expected)
{
	settle(notify);
	pthread_mutex_lock(&told->lock);
	assert_string_equal(told->text->str, expected);
	g_string_truncate(told->text, 0);
	pthread_mutex_unlock(&told->lock);
}

/* At least so many in all, or long enough for as many sizes. */
static void until_told(struct told *told, unsigned count)
{
	uint64_t until_ms = clock_ms() + 10ull * count * NOTIFY_SIZES_MS;
	bool is_told = false;

	while (!is_told && clock_ms() < until_ms) {
		g_usleep(5000);
		pthread_mutex_lock(&told->lock);
		is_told = told->notes >= count;
		pthread_mutex_unlock(&told->lock);
	}
}

static void told_block(struct told *told, bool blocked)
{
	pthread_mutex_lock(&told->lock);
	told->blocked = blocked;
	told->notes = 0;
	pthread_mutex_unlock(&told->lock);
}

static void test_notify(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	struct told told = {.lock = PTHREAD_MUTEX_INITIALIZER, .text = g_string_new(NULL)};
	struct notify *notify = notify_new(house->mail, false, false, &told_sink, NULL, &told);
	struct mail_folder *folder;

	assert_true(notify_start(notify));
	fake_message_add(house->mail, house->inbox, 5, 100, 100, true);
	assert_told(notify, &told, "content 4d00000000\n");
	fake_message_remove(house->mail, house->inbox, 5);
	assert_told(notify, &told,
		"deleted 4d00000000 4000004d00000005 2026-01-01T0005_olena@contoso.com_Рахунок.5.eml\n"
		"deleted 4d00000000 4000004d00000005 5.eml\n"
		"content 4d00000000\n");
	folder = fake_folder_add(house->mail, NULL, "New", 8, 0);
	assert_told(notify, &told, "entry 1 New\ncontent 1\n");
	fake_folder_remove(house->mail, folder);
	assert_told(notify, &told, "entry 1 New\ncontent 1\n");
	fake_folder_reset(house->mail, house->inbox, 1234);
	assert_told(notify, &told, "entry 1 INBOX\ncontent 4d00000000\n");
	notify_stop(notify);
	notify_free(notify);
	g_string_free(told.text, TRUE);
	house_free(house);
}

static void told_then(void *ctx)
{
	told_add(ctx, "then\n");
}

static void test_notify_then(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	struct told told = {.lock = PTHREAD_MUTEX_INITIALIZER, .text = g_string_new(NULL)};
	struct notify *notify = notify_new(house->mail, false, false, &told_sink, NULL, &told);

	assert_false(notify_then(notify, told_then, &told));
	assert_true(notify_start(notify));
	assert_false(notify_then(notify, told_then, &told));
	told_block(&told, true);
	fake_message_add(house->mail, house->inbox, 5, 100, 100, true);
	assert_true(notify_then(notify, told_then, &told));
	assert_string_equal("", told.text->str);
	told_block(&told, false);
	assert_told(notify, &told, "content 4d00000000\nthen\n");
	/* who waits is called in the end, too, though nothing is told any more */
	told_block(&told, true);
	fake_message_add(house->mail, house->inbox, 6, 100, 100, true);
	fake_message_remove(house->mail, house->inbox, 6);
	assert_true(notify_then(notify, told_then, &told));
	told_block(&told, false);
	notify_stop(notify);
	assert_true(g_str_has_suffix(told.text->str, "then\n"));
	assert_false(notify_then(notify, told_then, &told));
	notify_free(notify);
	g_string_free(told.text, TRUE);
	house_free(house);
}

/* An open tells it sooner; nobody may open the message for long. */
static void test_notify_sizes(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	struct told told = {.lock = PTHREAD_MUTEX_INITIALIZER, .text = g_string_new(NULL)};
	struct notify *notify = notify_new(house->mail, false, false, &told_sink, NULL, &told);
	uint64_t learned_ms = clock_ms();

	assert_true(notify_start(notify));
	fake_size_learned(house->mail, house->inbox, 5);
	fake_size_learned(house->mail, house->inbox, 6);
	fake_size_learned(house->mail, house->inbox, 6);
	notify_size_told(notify, MAIL_INO(5));
	assert_true(notify_is_idle(notify));
	until_told(&told, 1);
	assert_true(clock_ms() >= learned_ms + NOTIFY_SIZES_MS);
	assert_told(notify, &told, "attributes 4000004d00000006\n");
	/* and what comes after that is told, too */
	fake_size_learned(house->mail, house->inbox, 7);
	until_told(&told, 2);
	assert_told(notify, &told, "attributes 4000004d00000007\n");
	notify_stop(notify);
	notify_free(notify);
	g_string_free(told.text, TRUE);
	house_free(house);
}

/* Nothing is opened: a size that was wrong is told at once. */
static void test_notify_sizes_that_were_trusted(void **state)
{
	struct house *house = house_new(&(struct fake_options){.trusted = true});
	struct told told = {.lock = PTHREAD_MUTEX_INITIALIZER, .text = g_string_new(NULL)};
	struct notify *notify = notify_new(house->mail, false, false, &told_sink, NULL, &told);

	assert_true(notify_start(notify));
	fake_size_learned(house->mail, house->inbox, 5);
	assert_told(notify, &told, "attributes 4000004d00000005\n");
	notify_stop(notify);
	notify_free(notify);
	g_string_free(told.text, TRUE);
	house_free(house);
}

/* Once somebody has looked at texts: what mirrors the tree has its own changes. */
static void test_notify_texts(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	struct told told = {.lock = PTHREAD_MUTEX_INITIALIZER, .text = g_string_new(NULL)};
	struct notify *notify = notify_new(house->mail, false, false, &told_sink, NULL, &told);
	struct mail_folder *folder;

	assert_true(notify_start(notify));
	notify_mirror_texts(notify);
	fake_message_add(house->mail, house->inbox, 5, 100, 100, true);
	assert_told(notify, &told, "content 4d00000000\ncontent 8000004d00000000\n");
	folder = fake_folder_add(house->mail, NULL, "New", 8, 0);
	assert_told(notify, &told, "entry 1 New\ncontent 1\ncontent 8000000000000010\n");
	/* not as deleted: a folder that is made anew under this name is the same inode */
	fake_folder_remove(house->mail, folder);
	assert_told(notify, &told, "entry 1 New\ncontent 1\nentry 8000000000000010 New\ncontent 8000000000000010\n");
	fake_folder_reset(house->mail, house->inbox, 1234);
	assert_told(notify, &told,
		"entry 1 INBOX\ncontent 4d00000000\nentry 8000000000000010 INBOX\ncontent 8000004d00000000\n");
	notify_stop(notify);
	notify_free(notify);
	g_string_free(told.text, TRUE);
	house_free(house);
}

static void test_notify_maildir(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	struct told told = {.lock = PTHREAD_MUTEX_INITIALIZER, .text = g_string_new(NULL)};
	struct notify *notify = notify_new(house->mail, false, true, &told_sink, NULL, &told);

	assert_true(notify_start(notify));
	fake_message_add(house->mail, house->inbox, 5, 100, 100, true);
	assert_told(notify, &told, "content 4d00000001\n");
	/* the name that it had goes; the message stays */
	fake_message_flag(house->mail, house->inbox, 5, MAIL_SEEN | MAIL_FLAGGED);
	assert_told(notify, &told, "entry 4d00000001 1767225900.F4000004dU5.mailtree:2,S\ncontent 4d00000001\n");
	fake_message_remove(house->mail, house->inbox, 5);
	assert_told(notify, &told,
		"deleted 4d00000001 4000004d00000005 1767225900.F4000004dU5.mailtree:2,FS\n"
		"content 4d00000001\n");
	fake_folder_reset(house->mail, house->inbox, 1234);
	assert_told(notify, &told, "entry 1 INBOX\ncontent 4d00000000\ncontent 4d00000001\n");
	notify_stop(notify);
	notify_free(notify);
	g_string_free(told.text, TRUE);
	house_free(house);
}

/* More than the queue holds becomes a few notes about the whole folder. */
static void test_notify_collapses(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	struct told told = {.lock = PTHREAD_MUTEX_INITIALIZER, .text = g_string_new(NULL)};
	struct notify *notify = notify_new(house->mail, true, false, &told_sink, NULL, &told);

	assert_true(notify_start(notify));
	told_block(&told, true);
	for (uint32_t uid = 1; uid <= NOTIFY_QUEUE_MAX + 1000; uid++)
		fake_message_add(house->mail, house->inbox, uid, 100, 100, true);
	assert_false(notify_is_idle(notify));
	for (uint32_t uid = NOTIFY_QUEUE_MAX + 1000; uid; uid--)
		fake_message_remove(house->mail, house->inbox, uid);
	told_block(&told, false);
	settle(notify);
	pthread_mutex_lock(&told.lock);
	/* all that fit, two contents (one was under way), one entry */
	assert_in_range(told.notes, NOTIFY_QUEUE_MAX, NOTIFY_QUEUE_MAX + 4);
	pthread_mutex_unlock(&told.lock);
	/* stopping drops what is left without waiting for it */
	notify_stop(notify);
	notify_free(notify);
	g_string_free(told.text, TRUE);
	house_free(house);
}

/* ---- the filler ---- */

static void told_store(void *ctx, uint64_t ino, GBytes *bytes)
{
	told_add(ctx, "%" G_GINT64_MODIFIER "x %s\n", ino, (const char *)g_bytes_get_data(bytes, NULL));
}

static bool told_is(struct told *told, const char *expected)
{
	bool is;

	pthread_mutex_lock(&told->lock);
	is = strcmp(told->text->str, expected) == 0;
	pthread_mutex_unlock(&told->lock);
	return is;
}

static void assert_stored(struct told *told, const char *expected)
{
	for (unsigned i = 0; i < 20000 && !told_is(told, expected); i++)
		g_usleep(500);
	assert_string_equal(told->text->str, expected);
}

static void test_fill(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	struct told told = {.lock = PTHREAD_MUTEX_INITIALIZER, .text = g_string_new(NULL)};
	struct fill *fill = fill_new(told_store, &told);
	struct notify *notify = notify_new(house->mail, false, false, &told_sink, fill, &told);
	struct mail_event event = {.type = MAIL_EVENT_MESSAGE_BODY, .message_number = 0x4d, .message = {.uid = 5}};

	event.body = g_bytes_new_static("five", 5);
	fill_add(fill, 1, event.body); /* nobody is there yet */
	assert_true(fill_start(fill));
	assert_true(notify_start(notify));
	fake_emit(house->mail, &event);
	assert_stored(&told, "4d00000005 five\n");
	assert_true(notify_is_idle(notify));
	notify_stop(notify);
	fill_stop(fill);
	fill_add(fill, 1, event.body);
	fill_stop(fill);
	assert_true(told_is(&told, "4d00000005 five\n"));
	notify_free(notify);
	fill_free(fill);
	g_bytes_unref(event.body);
	g_string_free(told.text, TRUE);
	house_free(house);
}

/* More than the queue holds is left to who reads it. */
static void test_fill_is_bounded(void **state)
{
	struct told told = {.lock = PTHREAD_MUTEX_INITIALIZER, .text = g_string_new(NULL)};
	struct fill *fill = fill_new(told_store, &told);
	GBytes *quarter = g_bytes_new_take(g_malloc0(FILL_QUEUE_BYTES_MAX / 4), FILL_QUEUE_BYTES_MAX / 4);

	assert_true(fill_start(fill));
	told_block(&told, true);
	for (uint64_t ino = 1; ino <= 6; ino++)
		fill_add(fill, ino, quarter);
	told_block(&told, false);
	assert_stored(&told, "1 \n2 \n3 \n4 \n");
	fill_add(fill, 7, quarter);
	assert_stored(&told, "1 \n2 \n3 \n4 \n7 \n");
	/* what is queued when it stops is dropped */
	told_block(&told, true);
	fill_add(fill, 8, quarter);
	fill_add(fill, 9, quarter);
	told_block(&told, false);
	fill_stop(fill);
	fill_free(fill);
	g_bytes_unref(quarter);
	g_string_free(told.text, TRUE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lookup),
		cmocka_unit_test(test_dot_names_wake_nobody),
		cmocka_unit_test(test_folder_wins),
		cmocka_unit_test(test_reset_is_stale),
		cmocka_unit_test(test_read_memory),
		cmocka_unit_test(test_read_file),
		cmocka_unit_test(test_lie_fails_the_read),
		cmocka_unit_test(test_retries),
		cmocka_unit_test(test_control),
		cmocka_unit_test(test_listing_under_change),
		cmocka_unit_test(test_maildir),
		cmocka_unit_test(test_search),
		cmocka_unit_test(test_fill),
		cmocka_unit_test(test_fill_is_bounded),
		cmocka_unit_test(test_listing_fails_whole),
		cmocka_unit_test(test_xattrs),
		cmocka_unit_test(test_statfs),
		cmocka_unit_test(test_tasks_answer_once),
		cmocka_unit_test(test_tasks_interrupt_and_stop),
		cmocka_unit_test(test_tasks_dont_park_for_ever),
		cmocka_unit_test(test_notify),
		cmocka_unit_test(test_notify_then),
		cmocka_unit_test(test_notify_sizes),
		cmocka_unit_test(test_notify_sizes_that_were_trusted),
		cmocka_unit_test(test_notify_texts),
		cmocka_unit_test(test_notify_maildir),
		cmocka_unit_test(test_notify_collapses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
