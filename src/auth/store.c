/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/store.h"
#include "src/auth/store_secret.h"
#include "src/base/loop.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/banned.h"

#define STORE_BYTES_MAX (4u * AUTH_TOKEN_MAX)
#define STORE_NAME_MAX 200u
#define LOCK_POLL_MS 20
#define STAMP_BYTES_MAX 4096

void auth_tokens_fini(struct auth_tokens *tokens)
{
	secret_unref(tokens->refresh);
	secret_unref(tokens->access);
	*tokens = (struct auth_tokens){0};
}

static char *path_of(const struct auth_config *config, const char *suffix)
{
	g_autofree char *name = NULL;
	g_autofree char *file = NULL;

	if ((config->method != AUTH_AUTHORIZATION_CODE && config->method != AUTH_DEVICE_CODE) || !config->state_dir)
		return NULL;
	name = g_uri_escape_string(config->account, "@", FALSE);
	if (strlen(name) > STORE_NAME_MAX) {
		char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, config->account, -1);

		g_free(name);
		name = digest;
	}
	file = g_strconcat(name, suffix, NULL);
	return g_build_filename(config->state_dir, file, NULL);
}

static bool is_file(const struct auth_config *config)
{
	return config->token_store == AUTH_STORE_FILE;
}

char *auth_store_path(const struct auth_config *config)
{
	return path_of(config, is_file(config) ? ".token" : ".stamp");
}

/* Where a file is written before it takes the other's place. One name: what a killed process left is found again. */
static char *path_new(const struct auth_config *config)
{
	return path_of(config, ".token.new");
}

static int failed(const char *path, struct error *err)
{
	return error_set(err, ERR_STORAGE, "%s: %s", path, g_strerror(errno));
}

static int directory_sync(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

	if (fd < 0)
		return -1;
	rc = fsync(fd);
	close(fd);
	return rc;
}

static bool is_text(const cJSON *json, const char *name, const char *wanted)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, name));

	return text && wanted && strcmp(text, wanted) == 0;
}

/* The whole file, NUL-terminated; NULL with errno. */
static char *file_read(const char *path, size_t *length_out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char *text = NULL;
	struct stat st;
	ssize_t got = -1;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0) {
		if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
			errno = EPERM;
		else if ((text = g_malloc0(STORE_BYTES_MAX + 1)))
			got = read(fd, text, STORE_BYTES_MAX);
	}
	close(fd);
	if (got < 0) {
		g_free(text);
		return NULL;
	}
	*length_out = (size_t)got;
	return text;
}

/* JSON tells by its end that it is whole; cJSON frees without wiping, but the text stays the caller's. */
static bool is_whole(const struct auth_config *config, const char *text, size_t length)
{
	cJSON *json = cJSON_ParseWithLength(text, length);
	cJSON *refresh = cJSON_GetObjectItemCaseSensitive(json, "refresh_token");
	cJSON *access = cJSON_GetObjectItemCaseSensitive(json, "access_token");
	bool whole = is_text(json, "token_url", config->token_url) && is_text(json, "client_id", config->client_id) &&
	             (cJSON_IsString(refresh) || cJSON_IsString(access));

	if (cJSON_IsString(refresh))
		secret_wipe(refresh->valuestring, strlen(refresh->valuestring));
	if (cJSON_IsString(access))
		secret_wipe(access->valuestring, strlen(access->valuestring));
	cJSON_Delete(json);
	return whole;
}

/*
 * A process that was killed between writing new tokens and putting them in place: they are the ones that count, because
 * an authority that rotates refresh tokens may take the old one no more.
 */
static void recover(const struct auth_config *config)
{
	g_autofree char *fresh = path_new(config);
	g_autofree char *path = auth_store_path(config);
	size_t length = 0;
	char *text = file_read(fresh, &length);
	bool whole = text && is_whole(config, text, length);

	if (!text && errno == ENOENT)
		return;
	secret_free_text(text);
	if (whole && rename(fresh, path) == 0)
		directory_sync(config->state_dir);
	else
		unlink(fresh);
}

int auth_store_lock(struct auth_flow *flow, int *lock_fd_out, struct error *err)
{
	g_autofree char *path = path_of(flow->config, ".lock");
	uint64_t until_ms = clock_ms() + flow->http_timeout_ms;
	int fd;

	if (!path)
		return error_set(err, ERR_STORAGE, "this account keeps no tokens");
	if (g_mkdir_with_parents(flow->config->state_dir, 0700) != 0)
		return failed(flow->config->state_dir, err);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return failed(path, err);
	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		struct pollfd cancel = {.fd = flow->cancel_fd, .events = POLLIN};
		int rc = 0;

		if (errno != EWOULDBLOCK && errno != EINTR)
			rc = failed(path, err);
		else if (clock_ms() >= until_ms)
			rc = error_set(
				err, ERR_TIMEOUT, "%s: another mailtree is refreshing the token and doesn't end", path);
		else if (poll(&cancel, 1, LOCK_POLL_MS) > 0)
			rc = error_set(err, ERR_INTERRUPTED, "given up");
		if (rc != 0) {
			close(fd);
			return rc;
		}
	}
	if (is_file(flow->config))
		recover(flow->config);
	*lock_fd_out = fd;
	return 0;
}

void auth_store_unlock(int lock_fd)
{
	if (lock_fd >= 0)
		close(lock_fd);
}

static struct secret *take_secret(const cJSON *json, const char *name)
{
	cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);
	struct secret *s = NULL;

	if (cJSON_IsString(item)) {
		size_t length = strlen(item->valuestring);

		if (length > 0)
			s = secret_new(item->valuestring, length);
		secret_wipe(item->valuestring, length);
	}
	return s;
}

static int64_t take_time(const cJSON *json, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);

	return cJSON_IsNumber(item) && item->valuedouble > 0 && item->valuedouble < 1e11 ? (int64_t)item->valuedouble
	                                                                                 : 0;
}

/* `*text_out` stays NULL when there is no file. */
static int file_load(const char *path, char **text_out, struct error *err)
{
	size_t length = 0;

	*text_out = file_read(path, &length);
	if (*text_out || errno == ENOENT)
		return 0;
	if (errno == EPERM)
		return error_set(err, ERR_STORAGE, "%s: not a file of ours with mode 0600", path);
	return failed(path, err);
}

int auth_store_load(const struct auth_config *config, struct auth_tokens *tokens_out, struct error *err)
{
	g_autofree char *path = auth_store_path(config);
	char *text = NULL;
	cJSON *json;
	int rc;

	*tokens_out = (struct auth_tokens){0};
	if (!path)
		return 0;
	rc = is_file(config) ? file_load(path, &text, err) : auth_secret_load(config, STORE_BYTES_MAX, &text, err);
	if (rc != 0 || !text)
		return rc;
	json = cJSON_Parse(text);
	/* what can't be read is no token: signing in again replaces it */
	if (is_text(json, "token_url", config->token_url) && is_text(json, "client_id", config->client_id)) {
		tokens_out->refresh = take_secret(json, "refresh_token");
		tokens_out->access = take_secret(json, "access_token");
		tokens_out->access_issued_at = take_time(json, "access_issued_at");
		tokens_out->access_expires_at = take_time(json, "access_expires_at");
	}
	cJSON_Delete(json);
	secret_free_text(text);
	return 0;
}

static char *tokens_print(const struct auth_config *config, const struct auth_tokens *tokens)
{
	cJSON *json = cJSON_CreateObject();
	char *text;

	cJSON_AddStringToObject(json, "account", config->account);
	cJSON_AddStringToObject(json, "token_url", config->token_url);
	cJSON_AddStringToObject(json, "client_id", config->client_id);
	/* references: cJSON must not keep copies that nobody wipes */
	if (tokens->refresh)
		cJSON_AddItemToObject(json, "refresh_token", cJSON_CreateStringReference(secret_text(tokens->refresh)));
	if (tokens->access) {
		cJSON_AddItemToObject(json, "access_token", cJSON_CreateStringReference(secret_text(tokens->access)));
		cJSON_AddNumberToObject(json, "access_issued_at", (double)tokens->access_issued_at);
		cJSON_AddNumberToObject(json, "access_expires_at", (double)tokens->access_expires_at);
	}
	text = cJSON_PrintBuffered(json, (int)STORE_BYTES_MAX, 0);
	cJSON_Delete(json);
	return text;
}

static int write_all(int fd, const char *text, size_t length)
{
	while (length) {
		ssize_t written = write(fd, text, length);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -1;
		text += written;
		length -= (size_t)written;
	}
	return 0;
}

static int file_save(const struct auth_config *config, const char *text, struct error *err)
{
	g_autofree char *path = auth_store_path(config);
	g_autofree char *fresh = path_new(config);
	int fd, rc = 0;

	unlink(fresh);
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return failed(fresh, err);
	if (write_all(fd, text, strlen(text)) != 0 || fsync(fd) != 0)
		rc = failed(fresh, err);
	close(fd);
	if (rc == 0 && rename(fresh, path) != 0)
		rc = failed(path, err);
	if (rc != 0)
		unlink(fresh);
	else if (directory_sync(config->state_dir) != 0)
		rc = failed(config->state_dir, err);
	return rc;
}

static int files_forget(const struct auth_config *config, struct error *err)
{
	g_autofree char *path = path_of(config, ".token");
	g_autofree char *fresh = path_new(config);

	if (path && unlink(path) != 0 && errno != ENOENT)
		return failed(path, err);
	if (fresh && unlink(fresh) != 0 && errno != ENOENT)
		return failed(fresh, err);
	return 0;
}

/* Tells other processes. Its size makes two changes differ that are closer together than the clock's ticks. */
static int stamp_change(const struct auth_config *config, struct error *err)
{
	g_autofree char *path = auth_store_path(config);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	struct stat st;
	int rc = 0;

	if (fd < 0)
		return failed(path, err);
	if (fstat(fd, &st) != 0 || ftruncate(fd, (st.st_size + 1) % STAMP_BYTES_MAX) != 0)
		rc = failed(path, err);
	close(fd);
	return rc;
}

/* Tokens from the time before token_store was changed don't stay behind in a file. */
static int service_save(const struct auth_config *config, const char *text, struct error *err)
{
	int rc = auth_secret_save(config, text, err);

	rc = rc ? rc : stamp_change(config, err);
	return rc ? rc : files_forget(config, err);
}

int auth_store_prepare(const struct auth_flow *flow, struct error *err)
{
	return is_file(flow->config) ? 0 : auth_secret_unlock(flow->cancel_fd, err);
}

int auth_store_save(const struct auth_config *config, const struct auth_tokens *tokens, struct error *err)
{
	g_autofree char *path = auth_store_path(config);
	char *text;
	int rc;

	if (!path)
		return error_set(err, ERR_STORAGE, "this account keeps no tokens");
	if (g_mkdir_with_parents(config->state_dir, 0700) != 0)
		return failed(config->state_dir, err);
	text = tokens_print(config, tokens);
	rc = is_file(config) ? file_save(config, text, err) : service_save(config, text, err);
	secret_wipe(text, strlen(text));
	cJSON_free(text);
	return rc;
}

int auth_store_forget(const struct auth_config *config, struct error *err)
{
	g_autofree char *path = auth_store_path(config);
	int rc = files_forget(config, err);

	if (rc != 0 || !path || is_file(config))
		return rc;
	rc = auth_secret_forget(config, err);
	return rc ? rc : stamp_change(config, err);
}
