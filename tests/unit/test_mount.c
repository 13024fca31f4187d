/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A real mount of a model of our own: what only the kernel can show. Needs /dev/fuse, and fusermount3 unless root. */
#include "fs/fs.h"
#include "tests/unit/fake_mail.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/banned.h"

#define MESSAGES 200u
/* What must not hang is given up after this long: the server is killed, and with it what waits for it fails. */
#define PATIENCE_S 20u

struct mount {
	char *point;
	pid_t server;
};

static pid_t impatient_of; /* the server now */

static void on_alarm(int number)
{
	kill(impatient_of, SIGKILL);
}

static uint64_t size_of(uint32_t uid)
{
	return uid == MESSAGES ? 0 : 500 + uid * 7919ull % 44000;
}

static struct fs *served;

static void on_orphaned(int number)
{
	fs_stop(served);
}

/* The server's process: the model and the filesystem, until it is unmounted or the test has ended without that. */
static void G_GNUC_NORETURN serve(const char *point, const struct fake_options *options, int ready_fd)
{
	struct mail *mail = fake_new(options);
	struct mail_folder *inbox = fake_folder_add(mail, NULL, "INBOX", 77, 0);
	struct fs_config config = {.mountpoint = point, .fsname = "work, home", .uid = getuid(), .gid = getgid()};
	struct error err = {0};
	struct fs *fs;
	int code;

	for (uint32_t uid = 1; uid <= MESSAGES; uid++)
		fake_message_add(mail, inbox, uid, size_of(uid), size_of(uid) + 1 - uid % 2 * (uid > 1 ? 2 : 0), false);
	code = fs_new(mail, &config, &fs, &err);
	if (code != 0)
		fprintf(stderr, "%s (%s)\n", err.text, err.hint);
	if (write(ready_fd, code ? "n" : "y", 1) != 1 || code)
		_exit(1);
	served = fs;
	signal(SIGTERM, on_orphaned);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	code = fs_run(fs, &err);
	fs_free(fs);
	fake_free(mail);
	_exit(code ? 1 : 0);
}

static void mount_begin(struct mount *mount, const struct fake_options *options)
{
	int ready[2];
	char answer = 'n';

	mount->point = g_dir_make_tmp("mailtree-test-XXXXXX", NULL);
	assert_non_null(mount->point);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	mount->server = fork();
	if (mount->server == 0)
		serve(mount->point, options, ready[1]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &answer, 1), 1);
	close(ready[0]);
	assert_int_equal(answer, 'y');
	impatient_of = mount->server;
	alarm(PATIENCE_S);
}

static void mount_end(struct mount *mount)
{
	const char *argv[] = {"fusermount3", "-u", mount->point, NULL};
	int status = -1;

	assert_true(
		g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status, NULL));
	assert_int_equal(status, 0);
	assert_int_equal(waitpid(mount->server, &status, 0), mount->server);
	alarm(0);
	rmdir(mount->point);
	g_free(mount->point);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static char *path_of(const struct mount *mount, uint32_t uid)
{
	return g_strdup_printf("%s/INBOX/%u.eml", mount->point, uid);
}

static bool is_body(uint32_t uid, const char *bytes, size_t length)
{
	g_autofree char *truth = g_malloc(length + 1);

	fake_body(uid, 0, truth, length);
	return length == size_of(uid) && memcmp(bytes, truth, length) == 0;
}

/* As tar does: by name, then open, then the open file's size, and that many bytes. */
static void assert_reads(const struct mount *mount, uint32_t uid)
{
	g_autofree char *path = path_of(mount, uid);
	g_autofree char *bytes = g_malloc(50000);
	struct stat before, opened;
	ssize_t length;
	int fd;

	assert_int_equal(stat(path, &before), 0);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &opened), 0);
	length = pread(fd, bytes, 50000, 0);
	assert_int_equal(length, opened.st_size);
	assert_true(is_body(uid, bytes, (size_t)length));
	if (length) {
		void *mapped = mmap(NULL, (size_t)length, PROT_READ, MAP_SHARED, fd, 0);

		assert_true(mapped != MAP_FAILED);
		assert_true(is_body(uid, mapped, (size_t)length));
		munmap(mapped, (size_t)length);
	}
	close(fd);
}

static void test_exact_sizes(void **state)
{
	struct fake_options options = {.racy = true, .in_file = true};
	struct mount mount;
	struct statvfs statvfs_of_it;

	mount_begin(&mount, &options);
	for (uint32_t uid = 1; uid <= MESSAGES; uid++)
		assert_reads(&mount, uid);
	for (uint32_t uid = 1; uid <= MESSAGES; uid++)
		assert_reads(&mount, uid);
	assert_int_equal(statvfs(mount.point, &statvfs_of_it), 0);
	assert_true(statvfs_of_it.f_flag & ST_RDONLY && statvfs_of_it.f_flag & ST_NOSUID &&
		    statvfs_of_it.f_flag & ST_NODEV);
	mount_end(&mount);
}

/* Under trust a wrong size is EIO for the read that finds it, never a short or padded file, and right from then on. */
static void test_trusted_sizes(void **state)
{
	struct fake_options options = {.trusted = true, .delay_ms = {[FAKE_BODY] = 1}};
	struct mount mount;

	mount_begin(&mount, &options);
	for (uint32_t uid = 1; uid <= MESSAGES; uid++) {
		g_autofree char *path = path_of(&mount, uid);
		struct stat opened;
		char bytes[50000];
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		assert_true(fd >= 0);
		assert_int_equal(fstat(fd, &opened), 0);
		if ((uint64_t)opened.st_size != size_of(uid)) {
			assert_int_equal(read(fd, bytes, sizeof(bytes)), -1);
			assert_int_equal(errno, EIO);
		}
		close(fd);
		assert_reads(&mount, uid);
	}
	mount_end(&mount);
}

static void on_signal(int number)
{
}

/* Reads the first byte; exits with errno. Returns when its signals are as the test wants them. */
static pid_t reader_begin(const char *path, bool handles)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		struct sigaction action = {.sa_handler = handles ? on_signal : SIG_DFL};
		int fd;

		sigaction(SIGINT, &action, NULL);
		close(ready[1]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		_exit(fd < 0 || read(fd, &byte, 1) < 0 ? errno : 0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 0);
	close(ready[0]);
	return pid;
}

static void wait_until_sleeping(pid_t pid)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/stat", pid);
	char state = 'R';

	while (state != 'S' && state != 'D') {
		g_autofree char *text = NULL;

		g_usleep(10000);
		assert_true(g_file_get_contents(path, &text, NULL, NULL));
		state = strrchr(text, ')')[2];
	}
}

/* A signal that comes on the way into the wait is lost for a program with a handler: so again, until it has ended. */
static int reader_end(pid_t pid, int number)
{
	int status;

	wait_until_sleeping(pid);
	for (unsigned turn = 0; waitpid(pid, &status, WNOHANG) == 0; turn++) {
		if (turn % 50 == 0)
			assert_int_equal(kill(pid, number), 0);
		g_usleep(2000);
	}
	return status;
}

static void interrupts(enum fake_wait wait, bool trusted)
{
	struct fake_options options = {.trusted = trusted};
	struct mount mount;
	int status;

	options.delay_ms[wait] = FAKE_HANGS;
	mount_begin(&mount, &options);

	g_autofree char *path = path_of(&mount, 7);

	status = reader_end(reader_begin(path, false), SIGINT);
	assert_true(WIFSIGNALED(status));
	status = reader_end(reader_begin(path, false), SIGKILL);
	assert_true(WIFSIGNALED(status));
	status = reader_end(reader_begin(path, true), SIGINT);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EINTR);
	mount_end(&mount);
}

static void test_interrupts(void **state)
{
	interrupts(FAKE_SIZE, false);
	interrupts(FAKE_BODY, false);
	interrupts(FAKE_BODY, true);
	interrupts(FAKE_FOLDER, false);
}

/* While one lookup waits for its folder's first load, others in that folder are answered (FUSE_PARALLEL_DIROPS). */
static void test_parallel_lookups(void **state)
{
	struct fake_options options = {.delay_ms = {[FAKE_FOLDER] = FAKE_HANGS}};
	struct mount mount;
	struct stat ignored;
	pid_t reader;
	int status;

	mount_begin(&mount, &options);

	g_autofree char *path = path_of(&mount, 7);
	g_autofree char *other = g_strdup_printf("%s/INBOX/Makefile", mount.point);

	reader = reader_begin(path, false);
	wait_until_sleeping(reader);
	assert_int_equal(stat(other, &ignored), -1);
	assert_int_equal(errno, ENOENT);
	status = reader_end(reader, SIGTERM);
	assert_true(WIFSIGNALED(status));
	mount_end(&mount);
}

/* An error is waited for once, though the kernel asks twice. */
/* One thread listens to the kernel: while it waits for the disk it is another one. */
static void test_a_slow_disk_delays_its_reader_alone(void **state)
{
	struct fake_options options = {.in_file = true, .disk_ms = 1500};
	struct mount mount;
	pid_t readers[2];
	int64_t began_us;
	int status;

	mount_begin(&mount, &options);

	g_autofree char *path = path_of(&mount, 1);

	for (size_t i = 0; i < G_N_ELEMENTS(readers); i++) {
		readers[i] = reader_begin(path, false);
		wait_until_sleeping(readers[i]);
	}
	began_us = g_get_monotonic_time();
	for (uint32_t uid = 2; uid <= 20; uid++)
		assert_reads(&mount, uid);
	assert_true(g_get_monotonic_time() - began_us < 1000000);
	for (size_t i = 0; i < G_N_ELEMENTS(readers); i++) {
		assert_int_equal(waitpid(readers[i], &status, 0), readers[i]);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	mount_end(&mount);
}

static void test_error_once(void **state)
{
	struct fake_options options = {.delay_ms = {[FAKE_BODY] = 1}, .code = {[FAKE_BODY] = ERR_TIMEOUT}};
	struct mount mount;
	int status;

	mount_begin(&mount, &options);

	g_autofree char *path = path_of(&mount, 7);
	g_autofree char *metrics = g_strdup_printf("%s/.mailtree/metrics", mount.point);
	g_autofree char *text = NULL;

	assert_true(waitpid(reader_begin(path, false), &status, 0) > 0);
	assert_int_equal(WEXITSTATUS(status), ETIMEDOUT);
	assert_true(g_file_get_contents(metrics, &text, NULL, NULL));
	assert_string_equal(text, "bodies 1\n");
	mount_end(&mount);
}

/* What it would show would be wrong, so it isn't mounted over, and says why. */
static void test_mount_refused(void **state)
{
	struct fake_options options = {0};
	struct mail *mail = fake_new(&options);
	struct fs_config config = {.mountpoint = "/nonexistent/place", .fsname = "work"};
	struct error err = {0};
	struct fs *fs;

	assert_int_equal(fs_new(mail, &config, &fs, &err), ERR_FAILED);
	assert_non_null(strstr(err.text, "/nonexistent/place"));
	assert_string_equal(err.hint, "mkdir -p /nonexistent/place");
	config.mountpoint = "/dev/null";
	assert_int_equal(fs_new(mail, &config, &fs, &err), ERR_FAILED);
	assert_non_null(strstr(err.text, "not a directory"));
	fake_free(mail);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exact_sizes),
		cmocka_unit_test(test_trusted_sizes),
		cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_parallel_lookups),
		cmocka_unit_test(test_a_slow_disk_delays_its_reader_alone),
		cmocka_unit_test(test_error_once),
		cmocka_unit_test(test_mount_refused),
	};

	signal(SIGALRM, on_alarm);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
