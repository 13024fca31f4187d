/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/control.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "src/base/banned.h"

#define FIRST_SERIAL 0x100u /* below: the fixed numbers of the directory and of the files' st_ino */
#define FIRST_FILE_INO (NODE_GENERATED | 2)
/* What `refresh` says of its size before it has been read. Its line is shorter; the end of a read is its end. */
#define REFRESH_BYTES 4096u

static const char *const names[CONTROL_FILES] = {"status.json", "errors.log", "metrics", "refresh"};

struct snapshot {
	enum control_file file;
	struct timespec time;
	GBytes *content; /* NULL: `refresh`, not read yet */
	uint64_t lookups;
};

struct control {
	struct mail *mail;
	const char *mountpoint;
	struct timespec started;
	pthread_mutex_t lock;  /* guards all below */
	GHashTable *snapshots; /* serial → struct snapshot */
	uint32_t serial;
};

static void snapshot_free(gpointer data)
{
	struct snapshot *snapshot = data;

	if (snapshot->content)
		g_bytes_unref(snapshot->content);
	g_free(snapshot);
}

struct control *control_new(struct mail *mail, const char *mountpoint)
{
	struct control *control = g_new0(struct control, 1);

	control->mail = mail;
	control->mountpoint = mountpoint;
	clock_gettime(CLOCK_REALTIME, &control->started);
	pthread_mutex_init(&control->lock, NULL);
	control->snapshots = g_hash_table_new_full(NULL, NULL, NULL, snapshot_free);
	control->serial = FIRST_SERIAL;
	return control;
}

void control_free(struct control *control)
{
	if (!control)
		return;
	g_hash_table_unref(control->snapshots);
	pthread_mutex_destroy(&control->lock);
	g_free(control);
}

const char *control_name(enum control_file file)
{
	return names[file];
}

uint64_t control_ino(enum control_file file)
{
	return FIRST_FILE_INO + file;
}

void control_dir_stat(struct control *control, const struct attr_config *config, struct stat *stat_out)
{
	attr_control(config, CONTROL_DIR_INO, S_IFDIR, 0, &control->started, stat_out);
}

static GBytes *render(struct control *control, enum control_file file)
{
	char *text = NULL;

	switch (file) {
	case CONTROL_STATUS:
		text = mail_status_json(control->mail, control->mountpoint);
		break;
	case CONTROL_ERRORS:
		text = mail_errors_text(control->mail);
		break;
	case CONTROL_METRICS:
		text = mail_metrics_text(control->mail);
		break;
	case CONTROL_REFRESH:
	case CONTROL_FILES:
		return NULL;
	}
	return text ? g_bytes_new_take(text, strlen(text)) : g_bytes_new(NULL, 0);
}

static void snapshot_stat(const struct snapshot *snapshot, const struct attr_config *config, struct stat *stat_out)
{
	uint64_t size = snapshot->content ? g_bytes_get_size(snapshot->content) : REFRESH_BYTES;

	attr_control(config, control_ino(snapshot->file), S_IFREG, size, &snapshot->time, stat_out);
}

static gpointer key_of(uint64_t nodeid)
{
	return GUINT_TO_POINTER((uint32_t)nodeid);
}

bool control_lookup(struct control *control, const char *name, const struct attr_config *config, uint64_t *nodeid_out,
	struct stat *stat_out)
{
	enum control_file file = 0;

	while (file < CONTROL_FILES && strcmp(name, names[file]) != 0)
		file++;
	if (file == CONTROL_FILES)
		return false;

	struct snapshot *snapshot = g_new0(struct snapshot, 1);

	snapshot->file = file;
	snapshot->lookups = 1;
	snapshot->content = render(control, file);
	clock_gettime(CLOCK_REALTIME, &snapshot->time);
	snapshot_stat(snapshot, config, stat_out);

	pthread_mutex_lock(&control->lock);
	do {
		if (++control->serial < FIRST_SERIAL || control->serial & NODE_OBJECT)
			control->serial = FIRST_SERIAL;
	} while (g_hash_table_contains(control->snapshots, key_of(control->serial)));
	*nodeid_out = NODE_GENERATED | control->serial;
	g_hash_table_insert(control->snapshots, key_of(control->serial), snapshot);
	pthread_mutex_unlock(&control->lock);
	return true;
}

bool control_stat(struct control *control, uint64_t nodeid, const struct attr_config *config, struct stat *stat_out)
{
	pthread_mutex_lock(&control->lock);
	const struct snapshot *snapshot = g_hash_table_lookup(control->snapshots, key_of(nodeid));

	if (snapshot)
		snapshot_stat(snapshot, config, stat_out);
	pthread_mutex_unlock(&control->lock);
	return snapshot != NULL;
}

void control_forget(struct control *control, uint64_t nodeid, uint64_t lookups)
{
	pthread_mutex_lock(&control->lock);
	struct snapshot *snapshot = g_hash_table_lookup(control->snapshots, key_of(nodeid));

	if (snapshot && snapshot->lookups > lookups)
		snapshot->lookups -= lookups;
	else if (snapshot)
		g_hash_table_remove(control->snapshots, key_of(nodeid));
	pthread_mutex_unlock(&control->lock);
}

bool control_is_refresh(struct control *control, uint64_t nodeid)
{
	pthread_mutex_lock(&control->lock);
	const struct snapshot *snapshot = g_hash_table_lookup(control->snapshots, key_of(nodeid));
	bool is_refresh = snapshot && snapshot->file == CONTROL_REFRESH;

	pthread_mutex_unlock(&control->lock);
	return is_refresh;
}

static GBytes *content_ref(struct control *control, uint64_t nodeid, bool *known_out)
{
	GBytes *content = NULL;

	pthread_mutex_lock(&control->lock);
	const struct snapshot *snapshot = g_hash_table_lookup(control->snapshots, key_of(nodeid));

	*known_out = snapshot != NULL;
	if (snapshot && snapshot->content)
		content = g_bytes_ref(snapshot->content);
	pthread_mutex_unlock(&control->lock);
	return content;
}

int control_content(
	struct control *control, uint64_t nodeid, struct mail_waiter *waiter, GBytes **content_out, struct error *err)
{
	g_autofree char *line = NULL;
	bool known;

	*content_out = content_ref(control, nodeid, &known);
	if (!known)
		return error_set(err, ERR_GONE, "control file: forgotten");
	if (*content_out)
		return 0;

	int code = mail_refresh(control->mail, waiter, &line, err);

	if (code != 0)
		return code;

	size_t length = line ? strnlen(line, REFRESH_BYTES - 1) : 0;
	g_autoptr(GString) text = g_string_new_len(line, (gssize)length);

	if (!length || text->str[length - 1] != '\n')
		g_string_append_c(text, '\n');
	*content_out = g_bytes_new(text->str, text->len);

	pthread_mutex_lock(&control->lock);
	struct snapshot *snapshot = g_hash_table_lookup(control->snapshots, key_of(nodeid));

	if (snapshot && !snapshot->content)
		snapshot->content = g_bytes_ref(*content_out);
	pthread_mutex_unlock(&control->lock);
	return 0;
}
