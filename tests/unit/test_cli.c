/* SPDX-License-Identifier: GPL-2.0-or-later */
/* src/cli: what goes over the socket of a live mount, its ends, and the small things that commands share. */
#include "src/base/loop.h"
#include "src/cli/mounts.h"
#include "src/cli/output.h"
#include "src/cli/server.h"
#include "src/cli/sockets.h"
#include "src/cli/status_page.h"
#include "tests/unit/fake_mail.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/banned.h"

#define PATIENCE_MS 20000u

/* ---- records as text ---- */

struct taken {
	GString *text;
	int records;
	int refuse_after; /* 0 = never */
};

static int take(void *ctx, const char *bytes, size_t length, struct error *err)
{
	struct taken *taken = ctx;

	g_string_append_len(taken->text, bytes, (gssize)length);
	if (++taken->records == taken->refuse_after)
		return error_set(err, ERR_STORAGE, "the reader has enough");
	return 0;
}

static void taken_fini(struct taken *taken)
{
	g_string_free(taken->text, TRUE);
}

/* ---- wire ---- */

/* The command's wire, and the other end as a bare descriptor. */
static struct wire *wire_pair(int *other_out)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	*other_out = ends[1];
	return wire_new(ends[0], 2000, 2000);
}

/* What a mount sends that has `bytes` to say, and then hangs up. */
static int receive(const char *bytes, size_t length, struct taken *taken, bool *answered_out, struct error *err)
{
	const struct sink sink = {take, taken};
	int other, code;
	struct wire *wire = wire_pair(&other);

	assert_int_equal(write(other, bytes, length), length);
	close(other);
	code = wire_receive(wire, &sink, answered_out, err);
	wire_free(wire);
	return code;
}

static void test_wire_request(void **state)
{
	const struct work_request sent[] = {
		{.command = WORK_LS},
		{.command = WORK_LS, .folder = "Проєкти/\"A\\\n"},
		{.command = WORK_CAT, .folder = "INBOX", .uid = UINT32_MAX},
		{.command = WORK_STATUS},
		{.command = WORK_MOUNTPOINT},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(sent); i++) {
		struct work_request got;
		struct error err = {0};
		int other;
		struct wire *wire = wire_pair(&other), *mount = wire_new(other, 2000, 2000);

		assert_int_equal(wire_send_request(wire, &sent[i], &err), 0);
		assert_int_equal(wire_receive_request(mount, &got, &err), 0);
		assert_int_equal(got.command, sent[i].command);
		assert_int_equal(got.uid, sent[i].uid);
		assert_int_equal(g_strcmp0(got.folder, sent[i].folder), 0);
		wire_free(wire);
		wire_free(mount);
	}
}

static void test_wire_request_should_fail(void **state)
{
	g_autofree char *long_folder = g_strnfill(WORK_FOLDER_BYTES_MAX + 1, 'a');
	g_autofree char *folder = g_strdup_printf("{\"command\":\"ls\",\"folder\":\"%s\"}\n", long_folder);
	g_autofree char *long_line = g_strnfill(WIRE_REQUEST_BYTES_MAX + 1, ' ');
	g_autofree char *line = g_strconcat(long_line, "{\"command\":\"ls\"}\n", NULL);
	const char *const cases[] = {"\n", "ls\n", "[]\n", "{}\n", "{\"command\":7}\n", "{\"command\":\"rm\"}\n",
		"{\"command\":\"cat\",\"uid\":-1}\n", "{\"command\":\"cat\",\"uid\":1.5}\n",
		"{\"command\":\"cat\",\"uid\":4294967296}\n", "{\"command\":\"cat\",\"uid\":\"1\"}\n",
		"{\"command\":\"ls\",\"folder\":[\"INBOX\"]}\n", "{\"command\":\"ls\"}", folder, line};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct work_request got;
		struct error err = {0};
		int other;
		struct wire *mount = wire_pair(&other);

		assert_int_equal(write(other, cases[i], strlen(cases[i])), strlen(cases[i]));
		close(other);
		assert_true(wire_receive_request(mount, &got, &err) < 0);
		assert_true(err.text[0]);
		wire_free(mount);
	}
}

/* The answer as a mount really sends it. */
static char *answer_make(size_t *length_out)
{
	struct error err = {0};
	int other;
	struct wire *mount = wire_pair(&other);
	char *bytes = g_malloc0(4096);
	size_t at = 0;
	ssize_t got;

	assert_int_equal(wire_send_wait(mount, &err), 0);
	assert_int_equal(wire_send_record(mount, "{\"a\":1}\n", 8, &err), 0);
	assert_int_equal(wire_send_record(mount, "\0\n\xff", 3, &err), 0);
	assert_int_equal(wire_send_record(mount, "", 0, &err), 0);
	assert_int_equal(wire_send_done(mount, 0, NULL, &err), 0);
	wire_free(mount);
	while ((got = read(other, bytes + at, 4096 - at)) > 0)
		at += (size_t)got;
	close(other);
	*length_out = at;
	return bytes;
}

/* Cut at any point it is a failure: never a part with success. */
static void test_wire_answer_cut(void **state)
{
	size_t length;
	g_autofree char *answer = answer_make(&length);

	for (size_t cut = 0; cut <= length; cut++) {
		struct taken taken = {.text = g_string_new(NULL)};
		struct error err = {0};
		bool answered;
		int code = receive(answer, cut, &taken, &answered, &err);

		if (cut == length) {
			assert_int_equal(code, 0);
			assert_int_equal(taken.records, 3);
			assert_int_equal(taken.text->len, 11);
			assert_memory_equal(taken.text->str, "{\"a\":1}\n\0\n\xff", 11);
		} else {
			assert_int_equal(code, ERR_FAILED);
		}
		assert_int_equal(answered, cut > strlen("{\"wait\":true}\n{\"bytes\":8}"));
		taken_fini(&taken);
	}
}

static void *write_slowly(void *data)
{
	const GString *text = ((void **)data)[0];
	int fd = GPOINTER_TO_INT(((void **)data)[1]);

	for (size_t i = 0; i < text->len; i++)
		if (send(fd, text->str + i, 1, MSG_NOSIGNAL) != 1)
			break;
	close(fd);
	return NULL;
}

static void test_wire_answer_byte_by_byte(void **state)
{
	size_t length;
	g_autofree char *answer = answer_make(&length);
	g_autoptr(GString) text = g_string_new_len(answer, (gssize)length);
	struct taken taken = {.text = g_string_new(NULL)};
	const struct sink sink = {take, &taken};
	struct error err = {0};
	bool answered;
	int other;
	struct wire *wire = wire_pair(&other);
	void *data[] = {text, GINT_TO_POINTER(other)};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, write_slowly, data), 0);
	assert_int_equal(wire_receive(wire, &sink, &answered, &err), 0);
	pthread_join(thread, NULL);
	assert_int_equal(taken.records, 3);
	wire_free(wire);
	taken_fini(&taken);
}

static void test_wire_answer_should_fail(void **state)
{
	g_autofree char *long_line = g_strnfill(WIRE_LINE_BYTES_MAX + 1, ' ');
	g_autofree char *line = g_strconcat(long_line, "{\"done\":0}\n", NULL);
	const char *const cases[] = {"{\"bytes\":-1}\n{\"done\":0}\n", "{\"bytes\":1e9}\n{\"done\":0}\n",
		"{\"bytes\":0.5}\n{\"done\":0}\n", "{\"bytes\":\"1\"}\n{\"done\":0}\n", "{\"done\":1}\n",
		"{\"done\":-99}\n", "{\"done\":\"0\"}\n", "{}\n", "null\n", "\n", line};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct taken taken = {.text = g_string_new(NULL)};
		struct error err = {0};
		bool answered;

		assert_true(receive(cases[i], strlen(cases[i]), &taken, &answered, &err) < 0);
		assert_int_equal(taken.records, 0);
		taken_fini(&taken);
	}
}

static void test_wire_record_too_long(void **state)
{
	struct error err = {0};
	int other;
	struct wire *mount = wire_pair(&other);

	assert_int_equal(wire_send_record(mount, "", WIRE_RECORD_BYTES_MAX + 1u, &err), ERR_FAILED);
	wire_free(mount);
	close(other);
}

static void test_wire_failure_has_its_words(void **state)
{
	struct taken taken = {.text = g_string_new(NULL)};
	const struct sink sink = {take, &taken};
	struct error reason = {0}, err = {0};
	bool answered;
	int other;
	struct wire *wire = wire_pair(&other), *mount = wire_new(other, 2000, 2000);

	error_set(&reason, ERR_SIGN_IN, "work: refused");
	error_hint(&reason, "mailtree login work");
	assert_int_equal(wire_send_done(mount, ERR_SIGN_IN, &reason, &err), 0);
	assert_int_equal(wire_receive(wire, &sink, &answered, &err), ERR_SIGN_IN);
	assert_string_equal(err.text, reason.text);
	assert_string_equal(err.hint, reason.hint);
	wire_free(wire);
	wire_free(mount);
	taken_fini(&taken);
}

/* ---- server ---- */

struct fixture {
	char *dir, *runtime_dir;
	struct mail *mail;
	struct server *server;
};

static void serve(struct fixture *f)
{
	const struct server_config config = {f->runtime_dir, "identity", "/mnt/mail", false};
	struct error err = {0};

	assert_int_equal(server_start(f->mail, &config, &f->server, &err), 0);
}

static int setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);
	struct fake_options options = {.delay_ms = {[FAKE_TREE] = 1}};
	struct mail_folder *inbox;

	umask(077);
	f->dir = g_dir_make_tmp("mailtree-cli-XXXXXX", NULL);
	/* longer than the address of a socket may be */
	f->runtime_dir = g_strdup_printf("%s/%0120d", f->dir, 0);
	f->mail = fake_new(&options);
	inbox = fake_folder_add(f->mail, NULL, "INBOX", 5, MAIL_FOLDER_INBOX);
	fake_folder_add(f->mail, inbox, "Нижче", 6, 0);
	for (uint32_t uid = 1; uid <= 300; uid++)
		fake_message_add(f->mail, inbox, uid, uid == 7 ? 1000000 : 100, 100, true);
	serve(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	server_stop(f->server);
	fake_free(f->mail);
	assert_int_equal(g_rmdir(f->runtime_dir), 0); /* the socket has been removed */
	g_rmdir(f->dir);
	g_free(f->runtime_dir);
	g_free(f->dir);
	g_free(f);
	return 0;
}

struct question {
	struct work_request request;
	struct taken taken;
	struct error err;
	int code, asked;
	bool answered;
};

static int ask_one(void *ctx, struct wire *wire, pid_t pid)
{
	struct question *q = ctx;
	const struct sink sink = {take, &q->taken};

	assert_int_equal(pid, getpid());
	q->asked++;
	q->code = wire_send_request(wire, &q->request, &q->err);
	if (q->code == 0)
		q->code = wire_receive(wire, &sink, &q->answered, &q->err);
	return 1;
}

static void ask(const struct fixture *f, const char *identity, struct question *q)
{
	struct sockets sockets;

	if (!q->taken.text)
		q->taken.text = g_string_new(NULL);
	assert_int_equal(sockets_open(f->runtime_dir, false, &sockets, NULL), 0);
	sockets_each(&sockets, identity, ask_one, q);
	sockets_close(&sockets);
}

static void test_server_answers(void **state)
{
	struct question folders = {.request = {.command = WORK_LS}};
	struct question messages = {.request = {.command = WORK_LS, .folder = "INBOX"}};
	struct question missing = {.request = {.command = WORK_LS, .folder = "INBOX/none"}};
	struct question body = {.request = {.command = WORK_CAT, .folder = "INBOX", .uid = 7}};
	struct question gone = {.request = {.command = WORK_CAT, .folder = "INBOX", .uid = 301}};
	struct question other = {.request = {.command = WORK_LS}};
	g_autofree char *truth = g_malloc(1000000);

	ask(*state, "identity", &folders);
	assert_int_equal(folders.code, 0);
	assert_int_equal(folders.taken.records, 2);
	assert_non_null(strstr(folders.taken.text->str, "\"path\":\"INBOX/Нижче\""));
	ask(*state, "identity", &messages);
	assert_int_equal(messages.code, 0);
	assert_int_equal(messages.taken.records, 300);
	ask(*state, "identity", &missing);
	assert_int_equal(missing.code, ERR_GONE);
	ask(*state, "identity", &body);
	assert_int_equal(body.code, 0);
	assert_int_equal(body.taken.text->len, 1000000);
	fake_body(7, 0, truth, 1000000);
	assert_memory_equal(body.taken.text->str, truth, 1000000);
	ask(*state, "identity", &gone);
	assert_int_equal(gone.code, ERR_GONE);
	/* another view of the mail isn't this mount's to give */
	ask(*state, "identit", &other);
	assert_int_equal(other.asked, 0);
	taken_fini(&folders.taken);
	taken_fini(&messages.taken);
	taken_fini(&missing.taken);
	taken_fini(&body.taken);
	taken_fini(&gone.taken);
	taken_fini(&other.taken);
}

static void test_server_passes_on_why(void **state)
{
	struct fixture *f = *state;
	struct question q = {.request = {.command = WORK_LS}};

	fake_set_delay(f->mail, FAKE_TREE, 10);
	fake_set_code(f->mail, FAKE_TREE, ERR_UNREACHABLE);
	ask(f, "identity", &q);
	assert_int_equal(q.code, ERR_UNREACHABLE);
	assert_true(q.answered);
	assert_int_equal(q.taken.records, 0);
	taken_fini(&q.taken);
}

/* A bare client: connected, with its request sent when there is one. */
static int client_connect(const struct fixture *f, const char *request)
{
	g_autofree char *name = g_strdup_printf("identity-%d.sock", (int)getpid());
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct sockets sockets;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(sockets_open(f->runtime_dir, false, &sockets, NULL), 0);
	g_snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", sockets.directory_fd, name);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	sockets_close(&sockets);
	if (request)
		assert_int_equal(write(fd, request, strlen(request)), strlen(request));
	return fd;
}

static void until_parked(const struct fixture *f, unsigned count)
{
	uint64_t until_ms = clock_ms() + PATIENCE_MS;

	while (fake_parked(f->mail) != count && clock_ms() < until_ms)
		g_usleep(1000);
	assert_int_equal(fake_parked(f->mail), count);
}

static void test_server_client_goes_away(void **state)
{
	struct fixture *f = *state;
	int fd;

	fake_set_delay(f->mail, FAKE_TREE, FAKE_HANGS);
	fd = client_connect(f, "{\"command\":\"ls\"}\n");
	until_parked(f, 1);
	close(fd);
	until_parked(f, 0);
}

static void test_server_stops_under_requests(void **state)
{
	struct fixture *f = *state;
	int waiting, silent;
	char byte;

	fake_set_delay(f->mail, FAKE_TREE, FAKE_HANGS);
	/* before the one that is seen waiting: it has been accepted then, too */
	silent = client_connect(f, NULL);
	waiting = client_connect(f, "{\"command\":\"ls\"}\n");
	until_parked(f, 1);
	server_stop(f->server);
	f->server = NULL;
	assert_int_equal(fake_parked(f->mail), 0);
	assert_int_equal(read(silent, &byte, 1), 0);
	close(waiting);
	close(silent);
}

static void test_server_client_too_many(void **state)
{
	struct fixture *f = *state;
	int clients[SERVER_CLIENTS_MAX];
	struct question q = {.request = {.command = WORK_MOUNTPOINT}};

	fake_set_delay(f->mail, FAKE_TREE, FAKE_HANGS);
	for (size_t i = 0; i < SERVER_CLIENTS_MAX; i++)
		clients[i] = client_connect(f, "{\"command\":\"ls\"}\n");
	until_parked(f, SERVER_CLIENTS_MAX);
	ask(f, NULL, &q);
	assert_int_equal(q.asked, 1);
	assert_int_equal(q.code, ERR_FAILED);
	assert_false(q.answered);
	for (size_t i = 0; i < SERVER_CLIENTS_MAX; i++)
		close(clients[i]);
	until_parked(f, 0);
	/* their places are free again */
	for (uint64_t until_ms = clock_ms() + PATIENCE_MS; !q.answered && clock_ms() < until_ms;)
		ask(f, NULL, &q);
	assert_int_equal(q.code, 0);
	assert_string_equal(q.taken.text->str, "{\"mountpoint\":\"/mnt/mail\"}");
	taken_fini(&q.taken);
}

static void test_server_retries(void **state)
{
	struct fixture *f = *state;
	struct question q = {.request = {.command = WORK_RETRY}};

	ask(f, NULL, &q);
	assert_int_equal(q.code, 0);
	assert_int_equal(q.taken.text->len, 0);
	assert_int_equal(fake_retries(f->mail), 1);
	taken_fini(&q.taken);
}

static void test_sockets_stale_is_removed(void **state)
{
	struct fixture *f = *state;
	struct question q = {.request = {.command = WORK_MOUNTPOINT}};
	g_autofree char *stale = NULL;
	struct sockets sockets;
	struct error err = {0};
	char *name;
	int fd;

	/* as a mount leaves it that dies: nobody listens any more, the file is still there */
	server_stop(f->server);
	assert_int_equal(sockets_open(f->runtime_dir, false, &sockets, &err), 0);
	assert_int_equal(sockets_listen(&sockets, "dead", &fd, &name, &err), 0);
	close(fd);
	stale = g_build_filename(f->runtime_dir, name, NULL);
	g_free(name);
	sockets_close(&sockets);
	assert_int_equal(access(stale, F_OK), 0);
	serve(f);
	ask(f, NULL, &q);
	assert_int_equal(q.asked, 1);
	assert_int_equal(q.code, 0);
	assert_int_equal(access(stale, F_OK), -1);
	taken_fini(&q.taken);
}

static void test_sockets_must_be_private(void **state)
{
	struct fixture *f = *state;
	g_autofree char *name = g_strdup_printf("%s/identity-%d.sock", f->runtime_dir, (int)getpid());
	struct sockets sockets;
	struct error err = {0};
	struct stat st;

	assert_int_equal(stat(name, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(chmod(f->runtime_dir, 0755), 0);
	assert_int_equal(sockets_open(f->runtime_dir, true, &sockets, &err), ERR_FAILED);
	assert_int_equal(chmod(f->runtime_dir, 0700), 0);
	assert_int_equal(sockets_open("/nonexistent/mailtree", false, &sockets, &err), 1);
}

/* ---- what commands share ---- */

static void test_wait_cancelled_before(void **state)
{
	struct fixture *f = *state;
	struct question q = {.taken = {.text = g_string_new(NULL)}};
	const struct sink sink = {take, &q.taken};
	struct wait wait;
	const struct work work = {&wait, f->mail, NULL, false};

	fake_set_delay(f->mail, FAKE_TREE, FAKE_HANGS);
	wait_init(&wait, f->mail);
	wait_cancel(&wait);
	q.request.command = WORK_LS;
	assert_int_equal(work_run(&work, &q.request, &sink, &q.err), ERR_INTERRUPTED);
	assert_int_equal(fake_parked(f->mail), 0);
	wait_fini(&wait);
	taken_fini(&q.taken);
}

static void test_work_ends_with_its_sink(void **state)
{
	struct fixture *f = *state;
	struct question q = {.taken = {.text = g_string_new(NULL), .refuse_after = 3}};
	const struct sink sink = {take, &q.taken};
	struct wait wait;
	const struct work work = {&wait, f->mail, NULL, false};

	wait_init(&wait, f->mail);
	q.request = (struct work_request){.command = WORK_LS, .folder = "INBOX"};
	assert_int_equal(work_run(&work, &q.request, &sink, &q.err), ERR_STORAGE);
	assert_int_equal(q.taken.records, 3);
	wait_fini(&wait);
	taken_fini(&q.taken);
}

static void test_output_cell(void **state)
{
	const struct {
		const char *text;
		int columns;
		bool pad;
		const char *cell;
	} cases[] = {
		{"plain", 0, false, "plain"},
		{"plain", 8, true, "plain   "},
		{"plain", 3, true, "pla"},
		{"\x1b[31m\tred\n", 0, false, "?[31m?red?"},
		{"\xe2\x80\xae"
		 "abc",
			0, false, "???abc"},
		{"\xff\xfe", 0, false, "??"},
		{"Рахунок", 4, true, "Раху"},
		{"日本語", 5, true, "日本 "},
		{"e\xcc\x81t\xc3\xa9", 2, true, "e\xcc\x81t"},
		{"", 2, true, "  "},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *cell = output_cell(cases[i].text, cases[i].columns, cases[i].pad);

		assert_string_equal(cell, cases[i].cell);
	}
}

static void test_output_size(void **state)
{
	const struct {
		double bytes;
		const char *text;
	} cases[] = {{0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {150000, "146 KiB"}, {2147483648.0, "2.0 GiB"}};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text = output_size(cases[i].bytes);

		assert_string_equal(text, cases[i].text);
	}
}

static void test_mounts_resolve(void **state)
{
	struct fixture *f = *state;
	g_autofree char *link = g_build_filename(f->dir, "link", NULL);
	struct error err = {0};
	g_autofree char *real = NULL, *path = NULL, *root = NULL, *proc = NULL;
	char *none;

	assert_int_equal(symlink(f->dir, link), 0);
	assert_int_equal(mounts_resolve(f->dir, &real, &err), 0);
	assert_int_equal(mounts_resolve(link, &path, &err), 0);
	assert_string_equal(path, real);
	assert_int_equal(mounts_resolve("/", &root, &err), 0);
	assert_string_equal(root, "/");
	assert_int_equal(mounts_resolve("/../proc/", &proc, &err), 0);
	assert_string_equal(proc, "/proc");
	assert_int_equal(mounts_resolve("/nonexistent/here", &none, &err), ERR_FAILED);
	assert_non_null(strstr(err.hint, "mkdir"));
	unlink(link);
}

/* One's own, another's (with a space in its place), one hidden by what was mounted over it, one that isn't ours. */
static void test_mounts_of_users(void **state)
{
	static const char table[] =
		"work /home/a/Mail fuse.mailtree ro,user_id=1000,group_id=1000,default_permissions 0 0\n"
		"work:b@x /home/b/My\\040Mail fuse.mailtree ro,user_id=1001,group_id=1001 0 0\n"
		"root /srv/mail fuse.mailtree ro,user_id=0,group_id=0 0 0\n"
		"hidden /mnt fuse.mailtree ro,user_id=1000 0 0\n"
		"tmpfs /mnt tmpfs rw 0 0\n"
		"other /home/a/ssh fuse.sshfs rw,user_id=1000 0 0\n";
	static const struct {
		uid_t uid;
		const char *places;
	} cases[] = {{1000, "/home/a/Mail "}, {1001, "/home/b/My Mail "}, {1002, ""},
		{0, "/home/a/Mail /home/b/My Mail /srv/mail "}};
	struct fixture *f = *state;
	g_autofree char *path = g_build_filename(f->dir, "table", NULL);
	g_autoptr(GPtrArray) mounts = NULL;

	assert_true(g_file_set_contents(path, table, -1, NULL));
	mounts = mounts_list(path);
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GString) places = g_string_new(NULL);

		for (guint j = 0; j < mounts->len; j++) {
			const struct mounts_entry *entry = mounts->pdata[j];

			if (mounts_concern(entry, cases[i].uid))
				g_string_append_printf(places, "%s ", entry->mountpoint);
		}
		assert_string_equal(places->str, cases[i].places);
	}
	unlink(path);
}

static void test_status_page(void **state)
{
	static const struct {
		const char *mounts, *page;
	} cases[] = {
		{"[]", "Nothing is mounted.\n"},
		{"[{\"mountpoint\": \"/m\", \"account\": \"work\", \"state\": \"no-answer\"}]",
			"/m  work\n  state       no answer: its program has died or hangs (mailtree umount /m)\n"},
		{"[{\"mountpoint\": \"/a\\u001b[31m\", \"account\": \"a\", \"state\": \"other-user\", \"owner\": "
		 "\"eve\"},"
		 "{\"mountpoint\": \"/b\", \"account\": \"b\", \"user\": \"u\", \"host\": \"h\", \"state\": "
		 "\"connected\","
		 "\"connections\": 1, \"token_expires\": \"1970-01-01T00:10:00Z\", \"folders\": [{\"messages\": 7}],"
		 "\"cache\": {\"bytes\": 512, \"limit\": 1024, \"messages\": 3},"
		 "\"last_error\": {\"text\": \"bad\", \"hint\": \"do\"}}]",
			"/a?[31m  a\n  state       mounted by eve, who can ask for more\n\n"
			"/b  b\n  mailbox     u at h\n  state       connected, 1 connection\n"
			"  sign-in     token until 1970-01-01T00:10:00Z, 8 min from now\n"
			"  folders     1, of which 0 have been opened; 7 messages are known\n"
			"  cache       [##########..........] 512 B (limit: 1.0 KiB), 3 messages\n"
			"  last error  bad (do)\n"},
		/* another version's, or nonsense */
		{"[{}, 7]",
			"?  ?\n  mailbox     ? at ?\n  state       ?\n\n?  ?\n  mailbox     ? at ?\n  state       ?\n"},
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		cJSON *mounts = cJSON_Parse(cases[i].mounts);
		g_autofree char *page = status_page(mounts, false, 120);

		assert_string_equal(page, cases[i].page);
		cJSON_Delete(mounts);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wire_request),
		cmocka_unit_test(test_wire_request_should_fail),
		cmocka_unit_test(test_wire_answer_cut),
		cmocka_unit_test(test_wire_answer_byte_by_byte),
		cmocka_unit_test(test_wire_answer_should_fail),
		cmocka_unit_test(test_wire_record_too_long),
		cmocka_unit_test(test_wire_failure_has_its_words),
		cmocka_unit_test_setup_teardown(test_server_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_server_passes_on_why, setup, teardown),
		cmocka_unit_test_setup_teardown(test_server_client_goes_away, setup, teardown),
		cmocka_unit_test_setup_teardown(test_server_stops_under_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_server_client_too_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_server_retries, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sockets_stale_is_removed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sockets_must_be_private, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wait_cancelled_before, setup, teardown),
		cmocka_unit_test_setup_teardown(test_work_ends_with_its_sink, setup, teardown),
		cmocka_unit_test(test_output_cell),
		cmocka_unit_test(test_output_size),
		cmocka_unit_test_setup_teardown(test_mounts_resolve, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mounts_of_users, setup, teardown),
		cmocka_unit_test(test_status_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
