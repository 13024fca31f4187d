/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is below .mailtree/: the trees of texts and attachments, and the table of what has no number of its own. */
#include "tests/unit/ops_fixture.h"

#include "fs/tree.h"

#include "src/base/banned.h"

#define TEXT_INO(uid) (NODE_GENERATED | MAIL_INO(uid))
#define TEXT_BYTES 100u /* of each text, and each attachment, of the model */
#define NAME_5 "2026-01-01T0005_olena@contoso.com_Рахунок.5"
#define NAME_6 "2026-01-01T0006_olena@contoso.com_Рахунок.6"
#define STORM_THREADS 4u
#define STORM_ROUNDS 3000u

static uint64_t enter(struct house *house, uint64_t parent, const char *name)
{
	struct ops_entry entry;

	assert_int_equal(lookup(house, parent, name, &entry), 0);
	assert_true(entry.nodeid != 0);
	return entry.nodeid;
}

static void assert_nothing(struct house *house, uint64_t parent, const char *name)
{
	struct ops_entry entry;

	assert_int_equal(lookup(house, parent, name, &entry), 0);
	assert_int_equal(entry.nodeid, 0);
}

static int open_now(struct house *house, uint64_t ino, uint64_t *size_out)
{
	struct call call;
	int result;

	call_init(&call);
	while ((result = ops_open(&house->ops, ino, MOUNTER, &call.waiter, size_out)) == MAIL_PARKED)
		assert_int_equal(call_wait(&call), 0);
	return result;
}

static void assert_holds(struct house *house, uint64_t ino, uint64_t told, const char *beginning)
{
	g_autoptr(GBytes) bytes = NULL;

	assert_int_equal(read_now(house, ino, 0, 4096, told, &bytes), 0);
	assert_int_equal(g_bytes_get_size(bytes), TEXT_BYTES);
	assert_memory_equal(g_bytes_get_data(bytes, NULL), beginning, strlen(beginning));
}

/* ---- the trees themselves ---- */

static void test_trees_are_listed_and_found(void **state)
{
	struct house *house = house_new(&(struct fake_options){.delay_ms = {[FAKE_TREE] = FAKE_HANGS}});
	g_autofree char *listing = list_all(house, CONTROL_DIR_INO);

	assert_string_equal(listing, ". .. status.json errors.log metrics refresh text attachments search");
	for (size_t i = 0; trees[i]; i++) {
		struct ops_entry entry;
		struct stat attributes;
		double timeout;

		assert_int_equal(lookup(house, CONTROL_DIR_INO, trees[i]->name, &entry), 0);
		assert_int_equal(entry.stat.st_ino, trees[i]->ino);
		assert_true(S_ISDIR(entry.stat.st_mode));
		assert_int_equal(ops_getattr(&house->ops, entry.nodeid, &attributes, &timeout), 0);
		assert_int_equal(attributes.st_ino, trees[i]->ino);
		assert_nothing(house, entry.nodeid, ".git");
	}
	assert_int_equal(fake_count(house->mail, FAKE_TREE), 0);
	house_free(house);
}

/* ---- texts ---- */

static void test_text_names(void **state)
{
	struct house *house = house_new(&(struct fake_options){.delay_ms = {[FAKE_FOLDER] = 1}});
	static const char *const names[] = {"5.txt", "5.eml.txt", NAME_5 ".txt", NAME_5 ".eml.txt"};
	static const char *const none[] = {"5", "05.txt", "x.5.txt", "6.txt", "5.eml", ".txt", ".5.txt", "txt"};
	uint64_t root = enter(house, CONTROL_DIR_INO, "text"), inbox;
	g_autofree char *long_name = g_strnfill(OPS_NAME_BYTES_MAX, 'x');
	g_autofree char *too_long = g_strnfill(OPS_NAME_BYTES_MAX + 1, 'x');
	struct ops_entry entry;

	fake_message_add(house->mail, house->inbox, 5, 1000, 900, false);
	inbox = enter(house, root, "INBOX");
	assert_int_equal(inbox, NODE_GENERATED | INBOX_INO);
	/* no message can be called so: nothing is loaded for it */
	assert_nothing(house, inbox, "Makefile");
	assert_nothing(house, inbox, ".5.txt");
	assert_int_equal(fake_count(house->mail, FAKE_FOLDER), 0);
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		assert_int_equal(enter(house, inbox, names[i]), TEXT_INO(5));
	assert_int_equal(fake_count(house->mail, FAKE_FOLDER), 1);
	for (size_t i = 0; i < G_N_ELEMENTS(none); i++)
		assert_nothing(house, inbox, none[i]);
	memcpy(long_name + OPS_NAME_BYTES_MAX - 4, ".txt", 4);
	assert_nothing(house, inbox, long_name);
	memcpy(long_name + OPS_NAME_BYTES_MAX - 6, ".5.txt", 6);
	assert_nothing(house, inbox, long_name);
	assert_int_equal(lookup(house, inbox, too_long, &entry), -ENAMETOOLONG);
	assert_int_equal(lookup(house, TEXT_INO(5), "x", &entry), -ENOTDIR);
	assert_nothing(house, root, "5.txt");
	assert_int_equal(fake_count(house->mail, FAKE_BODY), 0);
	house_free(house);
}

/* A folder has the name of a text: the text is listed under its other one, and the folder wins. */
static void test_a_folder_with_the_name_of_a_text(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	uint64_t inbox = enter(house, enter(house, CONTROL_DIR_INO, "text"), "INBOX");
	g_autofree char *listing = NULL;

	fake_message_add(house->mail, house->inbox, 5, 1000, 1000, true);
	fake_message_add(house->mail, house->inbox, 6, 1000, 1000, true);
	fake_folder_add(house->mail, house->inbox, NAME_5 ".txt", 12, 0);
	listing = list_all(house, inbox);
	assert_string_equal(listing, ". .. " NAME_5 ".txt " NAME_5 ".eml.txt " NAME_6 ".txt");
	assert_int_equal(enter(house, inbox, NAME_5 ".txt"), node_text_folder_ino(12));
	assert_int_equal(enter(house, inbox, NAME_5 ".eml.txt"), TEXT_INO(5));
	assert_int_equal(enter(house, inbox, NAME_6 ".txt"), TEXT_INO(6));
	house_free(house);
}

static void test_texts_are_told_and_read(void **state)
{
	struct house *house = house_new(&(struct fake_options){.delay_ms = {[FAKE_BODY] = 1}});
	uint64_t inbox = enter(house, enter(house, CONTROL_DIR_INO, "text"), "INBOX"), size;
	struct ops_entry entry;
	struct stat attributes;
	double timeout;
	GBytes *bytes = NULL;

	fake_message_add(house->mail, house->inbox, 5, 1000, 900, false);
	assert_int_equal(lookup(house, inbox, "5.txt", &entry), 0);
	assert_int_equal(entry.stat.st_mode, S_IFREG | 0400);
	assert_int_equal(entry.stat.st_ino, TEXT_INO(5));
	assert_true(entry.stat.st_size != TEXT_BYTES);
	/* open takes the estimate back */
	assert_true(entry.attr_timeout > 0);
	assert_int_equal(fake_count(house->mail, FAKE_BODY), 0);
	assert_int_equal(open_now(house, TEXT_INO(5), &size), 0);
	assert_int_equal(size, TEXT_BYTES);
	assert_int_equal(ops_getattr(&house->ops, TEXT_INO(5), &attributes, &timeout), 0);
	assert_int_equal(attributes.st_size, TEXT_BYTES);
	assert_holds(house, TEXT_INO(5), size, "Text of 5\n");
	assert_holds(house, TEXT_INO(5), UINT64_MAX, "Text of 5\n");
	/* nothing behind what was told, and nothing of another length */
	assert_int_equal(read_now(house, TEXT_INO(5), size, 10, size, &bytes), 0);
	assert_int_equal(g_bytes_get_size(bytes), 0);
	g_bytes_unref(bytes);
	assert_int_equal(read_now(house, TEXT_INO(5), 0, 4096, TEXT_BYTES + 1, &bytes), -EIO);
	assert_int_equal(open_now(house, TEXT_INO(6), &size), -ENOENT);
	assert_int_equal(ops_getattr(&house->ops, TEXT_INO(6), &attributes, &timeout), -ENOENT);
	assert_int_equal(open_now(house, inbox, &size), -EISDIR);
	house_free(house);
}

/* The kernel doesn't ask at open: it may keep no estimate. */
static void test_estimates_under_trust_arent_kept(void **state)
{
	struct house *house = house_new(&(struct fake_options){.trusted = true});
	uint64_t inbox = enter(house, enter(house, CONTROL_DIR_INO, "text"), "INBOX");
	struct ops_entry entry;

	fake_message_add(house->mail, house->inbox, 5, 1000, 1000, true);
	assert_int_equal(lookup(house, inbox, "5.txt", &entry), 0);
	assert_true(entry.attr_timeout == 0);
	assert_holds(house, TEXT_INO(5), UINT64_MAX, "Text of 5\n");
	assert_int_equal(lookup(house, inbox, "5.txt", &entry), 0);
	assert_true(entry.attr_timeout > 0);
	assert_int_equal(entry.stat.st_size, TEXT_BYTES);
	house_free(house);
}

static int stat_step(struct house *house, pid_t pid, bool is_open, struct call *call)
{
	call->waiter.pid = pid;
	return ops_stat_wait(&house->ops, TEXT_INO(5), is_open, &call->waiter);
}

static void look(struct house *house, uint64_t inbox, pid_t pid)
{
	struct ops_entry entry;
	struct mail_waiter waiter = {.pid = pid};

	assert_int_equal(ops_lookup(&house->ops, inbox, "5.txt", MOUNTER, &waiter, &entry), 0);
	assert_int_equal(entry.nodeid, TEXT_INO(5));
}

/* Where open isn't asked: a question for attributes behind no lookup is that of who has the file open. */
static void test_who_has_a_text_open_is_told_its_size(void **state)
{
	for (int how = 0; how < 3; how++) {
		struct house *house = house_new(&(struct fake_options){.trusted = true, .delay_ms = {[FAKE_BODY] = 1}});
		uint64_t inbox = enter(house, enter(house, CONTROL_DIR_INO, "text"), "INBOX");
		struct ops_entry entry;
		struct stat attributes;
		struct call call;
		double timeout;

		fake_message_add(house->mail, house->inbox, 5, 1000, 1000, true);
		/* several programs stat it, between each other, and one of another namespace does so again and again */
		for (int i = 0; i < 5; i++) {
			look(house, inbox, 100);
			look(house, inbox, 200);
			call_init(&call);
			assert_int_equal(stat_step(house, 100, false, &call), 0);
			assert_int_equal(stat_step(house, 200, false, &call), 0);
			assert_int_equal(stat_step(house, 0, false, &call), 0);
		}
		assert_int_equal(lookup(house, inbox, "5.txt", &entry), 0);
		assert_true(entry.entry_timeout == 0 && entry.attr_timeout == 0);
		assert_int_equal(fake_count(house->mail, FAKE_BODY), 0);
		call_init(&call);
		if (how == 0) {
			/* its permissions are checked, and then it is asked for */
			look(house, inbox, 100);
			assert_int_equal(stat_step(house, 100, false, &call), 0);
		}
		assert_int_equal(stat_step(house, 100, how == 2, &call), MAIL_PARKED);
		assert_int_equal(call_wait(&call), 0);
		call.waiter.since_ms = 1;
		assert_int_equal(stat_step(house, 100, how == 2, &call), 0);
		assert_int_equal(ops_getattr(&house->ops, TEXT_INO(5), &attributes, &timeout), 0);
		assert_int_equal(attributes.st_size, TEXT_BYTES);
		assert_true(timeout > 0);
		assert_int_equal(fake_count(house->mail, FAKE_BODY), 1);
		house_free(house);
	}
}

static void test_texts_fail_as_their_messages_do(void **state)
{
	struct house *house = house_new(&(struct fake_options){.delay_ms = {[FAKE_BODY] = 1, [FAKE_FOLDER] = 1}});
	uint64_t inbox = enter(house, enter(house, CONTROL_DIR_INO, "text"), "INBOX"), size, handle, told = UINT64_MAX;
	struct ops_data data;
	struct call call;

	fake_set_code(house->mail, FAKE_FOLDER, ERR_UNREACHABLE);
	call_init(&call);
	assert_int_equal(ops_opendir(&house->ops, inbox, MOUNTER, &call.waiter, &handle), MAIL_PARKED);
	assert_int_equal(call_wait(&call), ERR_UNREACHABLE);
	/* who reads all the same isn't told that the folder is empty */
	assert_int_equal(
		ops_readdir(&house->ops, inbox, INBOX | FAKE_MESSAGE_NUMBER, 0, 10, reader_add, NULL), -ESTALE);
	fake_set_code(house->mail, FAKE_FOLDER, 0);
	fake_message_add(house->mail, house->inbox, 5, 1000, 1000, true);
	assert_int_equal(enter(house, inbox, "5.txt"), TEXT_INO(5));
	fake_set_code(house->mail, FAKE_BODY, ERR_BROKEN);
	assert_int_equal(ops_open(&house->ops, TEXT_INO(5), MOUNTER, &call.waiter, &size), MAIL_PARKED);
	assert_int_equal(call_wait(&call), ERR_BROKEN);
	assert_int_equal(ops_read(&house->ops, TEXT_INO(5), 0, 10, &told, &call.waiter, &data), MAIL_PARKED);
	assert_int_equal(call_wait(&call), ERR_BROKEN);
	house_free(house);
}

static void test_texts_of_other_messages_are_stale(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	uint64_t inbox = enter(house, enter(house, CONTROL_DIR_INO, "text"), "INBOX"), size, handle;
	struct stat attributes;
	double timeout;
	GBytes *bytes;

	fake_message_add(house->mail, house->inbox, 5, 1000, 1000, true);
	assert_int_equal(open_now(house, TEXT_INO(5), &size), 0);
	assert_int_equal(opendir_now(house, inbox, &handle), 0);
	fake_folder_reset(house->mail, house->inbox, 1234);
	fake_message_add(house->mail, house->inbox, 5, 2000, 2000, true);
	assert_int_equal(ops_getattr(&house->ops, TEXT_INO(5), &attributes, &timeout), -ESTALE);
	assert_int_equal(open_now(house, TEXT_INO(5), &size), -ESTALE);
	assert_int_equal(read_now(house, TEXT_INO(5), 0, 10, TEXT_BYTES, &bytes), -ENOENT);
	assert_int_equal(ops_readdir(&house->ops, inbox, handle, 0, 10, reader_add, NULL), -ESTALE);
	assert_int_equal(enter(house, inbox, "5.txt"), node_text_ino(1234, 5));
	house_free(house);
}

static void test_a_text_listing_under_change(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	struct reader reader = {.names = g_ptr_array_new_with_free_func(g_free)};
	uint64_t inbox = enter(house, enter(house, CONTROL_DIR_INO, "text"), "INBOX"), handle;

	for (uint32_t uid = 10; uid <= 2000; uid += 10)
		fake_message_add(house->mail, house->inbox, uid, 100, 100, true);
	fake_folder_add(house->mail, house->inbox, "Sub", 3, 0);
	assert_int_equal(opendir_now(house, inbox, &handle), 0);
	for (guint before = 1; before != reader.names->len;) {
		before = reader.names->len;
		reader.room = 70;
		assert_int_equal(ops_readdir(&house->ops, inbox, handle, reader.at, 70, reader_add, &reader), 0);
		if (before == 70) {
			fake_message_remove(house->mail, house->inbox, 10);
			fake_message_remove(house->mail, house->inbox, 2000);
			fake_message_add(house->mail, house->inbox, 1, 100, 100, true);
		}
	}
	assert_string_equal(reader.names->pdata[0], ".");
	assert_string_equal(reader.names->pdata[1], "..");
	assert_string_equal(reader.names->pdata[2], "Sub");
	assert_int_equal(reader.names->len, 3 + 199);
	g_ptr_array_unref(reader.names);
	house_free(house);
}

/* Whatever the layout of the mount. */
static void test_texts_beside_a_maildir(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	uint64_t inbox = enter(house, enter(house, CONTROL_DIR_INO, "text"), "INBOX");
	g_autofree char *listing = NULL;
	struct ops_entry entry;

	house->ops.maildir = true;
	fake_message_add(house->mail, house->inbox, 5, 1000, 1000, true);
	listing = list_all(house, inbox);
	assert_string_equal(listing, ". .. " NAME_5 ".txt");
	assert_nothing(house, inbox, "cur");
	assert_int_equal(lookup(house, inbox | 1, "5.txt", &entry), -ESTALE);
	house_free(house);
}

/* ---- attachments ---- */

static void test_attachments_are_found_listed_and_read(void **state)
{
	struct house *house = house_new(&(struct fake_options){.delay_ms = {[FAKE_BODY] = 1}});
	uint64_t root = enter(house, CONTROL_DIR_INO, "attachments"), inbox, message, file, size;
	g_autofree char *names = NULL;
	g_autofree char *listing = NULL;
	struct ops_entry entry;
	struct stat attributes;
	double timeout;

	fake_message_add(house->mail, house->inbox, 5, 1000, 900, false);
	inbox = enter(house, root, "INBOX");
	assert_int_equal(inbox, enter(house, root, "INBOX"));
	names = list_all(house, inbox);
	assert_string_equal(names, ". .. " NAME_5 ".eml");
	assert_int_equal(lookup(house, inbox, NAME_5 ".eml", &entry), 0);
	assert_true(S_ISDIR(entry.stat.st_mode));
	message = entry.nodeid;
	assert_int_equal(message, enter(house, inbox, NAME_5));
	assert_int_equal(message, enter(house, inbox, "5"));
	assert_nothing(house, inbox, "5.txt");
	assert_nothing(house, inbox, "6");
	assert_nothing(house, message, ".hidden");
	assert_int_equal(fake_count(house->mail, FAKE_BODY), 0);
	listing = list_all(house, message);
	assert_string_equal(listing, ". .. звіт.pdf");
	assert_int_equal(fake_count(house->mail, FAKE_BODY), 1);
	assert_nothing(house, message, "none.pdf");
	assert_int_equal(lookup(house, message, "звіт.pdf", &entry), 0);
	file = entry.nodeid;
	assert_int_equal(entry.stat.st_size, TEXT_BYTES);
	assert_true(S_ISREG(entry.stat.st_mode));
	assert_int_equal(ops_getattr(&house->ops, file, &attributes, &timeout), 0);
	assert_int_equal(attributes.st_ino, entry.stat.st_ino);
	assert_int_equal(open_now(house, file, &size), 0);
	assert_int_equal(size, TEXT_BYTES);
	assert_holds(house, file, size, "Text of 5\n");
	assert_int_equal(open_now(house, message, &size), -EISDIR);
	assert_int_equal(lookup(house, file, "x", &entry), -ENOTDIR);
	/* the kernel mustn't keep what nobody takes back */
	assert_false(ops_listing_is_told(&house->ops, inbox));
	assert_true(ops_listing_is_told(&house->ops, message));
	house_free(house);
}

static void test_attachments_of_other_messages_are_stale(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	uint64_t inbox = enter(house, enter(house, CONTROL_DIR_INO, "attachments"), "INBOX"), message, file, size,
		 handle;
	struct ops_entry entry;
	GBytes *bytes;

	fake_message_add(house->mail, house->inbox, 5, 1000, 1000, true);
	message = enter(house, inbox, "5");
	file = enter(house, message, "звіт.pdf");
	assert_int_equal(opendir_now(house, message, &handle), 0);
	fake_folder_reset(house->mail, house->inbox, 1234);
	fake_message_add(house->mail, house->inbox, 5, 2000, 2000, true);
	assert_int_equal(lookup(house, message, "звіт.pdf", &entry), -ESTALE);
	assert_int_equal(opendir_now(house, message, &handle), -ESTALE);
	assert_int_equal(ops_readdir(&house->ops, message, handle, 0, 10, reader_add, NULL), -ESTALE);
	assert_int_equal(open_now(house, file, &size), -ESTALE);
	assert_int_equal(read_now(house, file, 0, 10, TEXT_BYTES, &bytes), -EIO);
	assert_true(enter(house, inbox, "5") != message);
	house_free(house);
}

/* The kernel may hold the old folder's directories for as long as it likes. */
static void test_a_folder_made_anew_under_an_old_name(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	uint64_t root = enter(house, CONTROL_DIR_INO, "attachments"), old, old_message, new, new_message, handle;
	struct mail_folder *folder = fake_folder_add(house->mail, NULL, "Again", 9, 0);
	g_autofree char *listing = NULL;
	struct stat before, after;
	double timeout;

	fake_message_add(house->mail, folder, 5, 1000, 1000, true);
	old = enter(house, root, "Again");
	old_message = enter(house, old, "5");
	assert_int_equal(ops_getattr(&house->ops, old, &before, &timeout), 0);
	fake_folder_remove(house->mail, folder);
	folder = fake_folder_add(house->mail, NULL, "Again", 9, 0);
	fake_message_add(house->mail, folder, 5, 1000, 1000, true);
	fake_message_add(house->mail, folder, 6, 1000, 1000, true);
	new = enter(house, root, "Again");
	listing = list_all(house, new);
	assert_string_equal(listing, ". .. " NAME_5 ".eml " NAME_6 ".eml");
	new_message = enter(house, new, "5");
	assert_true(new != old &&new_message != old_message);
	/* it is the same place to who looks */
	assert_int_equal(ops_getattr(&house->ops, new, &after, &timeout), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(opendir_now(house, old, &handle), -ENOENT);
	house_free(house);
}

/* ---- the table ---- */

static void test_what_is_forgotten_is_gone(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	uint64_t inbox = enter(house, enter(house, CONTROL_DIR_INO, "attachments"), "INBOX"), message, again, size;
	struct generated_node *held;
	struct stat attributes;
	double timeout;

	fake_message_add(house->mail, house->inbox, 5, 1000, 1000, true);
	message = enter(house, inbox, "5");
	again = enter(house, inbox, "5");
	assert_int_equal(message, again);
	ops_forget(&house->ops, message, 1);
	assert_int_equal(ops_getattr(&house->ops, message, &attributes, &timeout), 0);
	/* an operation is under way when the kernel forgets it, and it is looked up meanwhile */
	held = generated_find(house->ops.generated, message);
	ops_forget(&house->ops, message, 1);
	assert_int_equal(ops_getattr(&house->ops, message, &attributes, &timeout), 0);
	assert_int_equal(message, enter(house, inbox, "5"));
	generated_unref(house->ops.generated, held);
	assert_int_equal(ops_getattr(&house->ops, message, &attributes, &timeout), 0);
	ops_forget(&house->ops, message, 1);
	assert_int_equal(ops_getattr(&house->ops, message, &attributes, &timeout), -ESTALE);
	assert_int_equal(open_now(house, message, &size), -ESTALE);
	/* more than it was given is no harm */
	ops_forget(&house->ops, message, 5);
	again = enter(house, inbox, "5");
	assert_true(again != message);
	ops_forget(&house->ops, again, 100);
	assert_int_equal(ops_getattr(&house->ops, again, &attributes, &timeout), -ESTALE);
	house_free(house);
}

struct storm {
	struct house *house;
	uint64_t inbox;
	unsigned seed;
};

static void *storm_run(void *data)
{
	struct storm *storm = data;
	struct ops *ops = &storm->house->ops;

	for (unsigned i = 0; i < STORM_ROUNDS; i++) {
		struct ops_entry entry, file;
		uint64_t handle;
		char name[16];
		double timeout;

		storm->seed = storm->seed * 1103515245u + 12345u;
		g_snprintf(name, sizeof(name), "%u", storm->seed / 65536 % 4 + 1);
		assert_int_equal(lookup(storm->house, storm->inbox, name, &entry), 0);
		assert_int_equal(ops_getattr(ops, entry.nodeid, &entry.stat, &timeout), 0);
		assert_int_equal(lookup(storm->house, entry.nodeid, "звіт.pdf", &file), 0);
		assert_int_equal(opendir_now(storm->house, entry.nodeid, &handle), 0);
		assert_holds(storm->house, file.nodeid, TEXT_BYTES, "Text of ");
		ops_forget(ops, file.nodeid, 1);
		ops_forget(ops, entry.nodeid, 1);
	}
	return NULL;
}

static void test_many_look_up_and_forget(void **state)
{
	struct house *house = house_new(&(struct fake_options){0});
	uint64_t inbox = enter(house, enter(house, CONTROL_DIR_INO, "attachments"), "INBOX");
	struct storm storms[STORM_THREADS];
	GThread *threads[STORM_THREADS];

	for (uint32_t uid = 1; uid <= 4; uid++)
		fake_message_add(house->mail, house->inbox, uid, 1000, 1000, true);
	for (unsigned i = 0; i < STORM_THREADS; i++) {
		storms[i] = (struct storm){.house = house, .inbox = inbox, .seed = i};
		threads[i] = g_thread_new("storm", storm_run, &storms[i]);
	}
	for (unsigned i = 0; i < STORM_THREADS; i++)
		g_thread_join(threads[i]);
	house_free(house);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trees_are_listed_and_found),
		cmocka_unit_test(test_text_names),
		cmocka_unit_test(test_a_folder_with_the_name_of_a_text),
		cmocka_unit_test(test_texts_are_told_and_read),
		cmocka_unit_test(test_estimates_under_trust_arent_kept),
		cmocka_unit_test(test_who_has_a_text_open_is_told_its_size),
		cmocka_unit_test(test_texts_fail_as_their_messages_do),
		cmocka_unit_test(test_texts_of_other_messages_are_stale),
		cmocka_unit_test(test_a_text_listing_under_change),
		cmocka_unit_test(test_texts_beside_a_maildir),
		cmocka_unit_test(test_attachments_are_found_listed_and_read),
		cmocka_unit_test(test_attachments_of_other_messages_are_stale),
		cmocka_unit_test(test_a_folder_made_anew_under_an_old_name),
		cmocka_unit_test(test_what_is_forgotten_is_gone),
		cmocka_unit_test(test_many_look_up_and_forget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
