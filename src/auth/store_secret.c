/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/store_secret.h"

#include <glib-unix.h>
#include <libsecret/secret.h>
#include <string.h>

#include "src/base/banned.h"

/* A prompt that is cancelled waits for its service to say so. */
#define GRACE_MS 2000u

/*
 * libsecret's calls without a callback know no deadline, and a keyring may wait for a person for ever. So the
 * calls with a callback are made, one after the other, on a main context that nobody else runs.
 */
struct service {
	GMainContext *context;
	GCancellable *cancel; /* when the deadline has passed, or the caller gives up */
	GDBusConnection *bus;
	SecretService *proxy;
	GAsyncResult *result;
	uint32_t timeout_ms;
	bool done, late, given_up, stuck;
};

static const SecretSchema schema = {"mailtree.Tokens", SECRET_SCHEMA_NONE,
	{{"account", SECRET_SCHEMA_ATTRIBUTE_STRING}, {"state_dir", SECRET_SCHEMA_ATTRIBUTE_STRING}}};

bool auth_secret_service_is_built_in(void)
{
	return true;
}

static gboolean grace_passed(gpointer data)
{
	struct service *service = data;

	service->stuck = true;
	return G_SOURCE_REMOVE;
}

static void timer_start(struct service *service, uint32_t delay_ms, GSourceFunc passed)
{
	GSource *timer = g_timeout_source_new(delay_ms);

	g_source_set_callback(timer, passed, service, NULL);
	g_source_attach(timer, service->context);
	g_source_unref(timer);
}

static void cancel(struct service *service)
{
	timer_start(service, GRACE_MS, grace_passed);
	g_cancellable_cancel(service->cancel);
}

static gboolean deadline_passed(gpointer data)
{
	struct service *service = data;

	service->late = true;
	cancel(service);
	return G_SOURCE_REMOVE;
}

static gboolean caller_gave_up(gint fd, GIOCondition condition, gpointer data)
{
	struct service *service = data;

	service->given_up = true;
	cancel(service);
	return G_SOURCE_REMOVE;
}

static void cancel_watch(struct service *service, int cancel_fd)
{
	GSource *watch = g_unix_fd_source_new(cancel_fd, G_IO_IN);

	g_source_set_callback(watch, G_SOURCE_FUNC(caller_gave_up), service, NULL);
	g_source_attach(watch, service->context);
	g_source_unref(watch);
}

static void call_done(GObject *object, GAsyncResult *result, gpointer data)
{
	struct service *service = data;

	g_set_object(&service->result, result);
	service->done = true;
}

/* The result of the call that was just started, borrowed until the next is; NULL = it never came. */
static GAsyncResult *call_wait(struct service *service)
{
	bool done;

	while (!service->done && !service->stuck)
		g_main_context_iteration(service->context, TRUE);
	done = service->done;
	service->done = false;
	return done ? service->result : NULL;
}

static int failed(const struct service *service, GError *cause, struct error *err)
{
	if (service->given_up) {
		g_clear_error(&cause);
		return error_set(err, ERR_INTERRUPTED, "given up");
	}
	if (service->late || !cause) {
		error_set(err, ERR_SIGN_IN, "the desktop's secret service gave no answer within %u s",
			service->timeout_ms / 1000);
	} else {
		g_dbus_error_strip_remote_error(cause);
		error_set(err, ERR_SIGN_IN, "the desktop's secret service can't be used: %s", cause->message);
	}
	error_hint(err, "token_store = secret-service needs the session bus and an unlocked keyring; "
			"token_store = file needs neither");
	g_clear_error(&cause);
	return ERR_SIGN_IN;
}

static int locked(struct error *err)
{
	error_set(err, ERR_SIGN_IN, "the keyring is locked");
	error_hint(err, "unlock it, by the desktop's password manager or by `mailtree login`");
	return ERR_SIGN_IN;
}

static void service_close(struct service *service)
{
	g_main_context_pop_thread_default(service->context);
	/* its last call may still come back to it: rather lost than used after it is freed */
	if (service->stuck)
		return;
	/* what ends with the last reference to the proxy ends on the context */
	g_clear_object(&service->result);
	g_clear_object(&service->proxy);
	g_clear_object(&service->bus);
	while (g_main_context_iteration(service->context, FALSE))
		continue;
	g_main_context_unref(service->context);
	g_object_unref(service->cancel);
	g_free(service);
}

/* A connection of its own for each use: a service that was restarted knows nothing of old sessions. */
static int service_open(uint32_t timeout_ms, int cancel_fd, struct service **service_out, struct error *err)
{
	struct service *service = g_new0(struct service, 1);
	GAsyncResult *result;
	GError *cause = NULL;
	int rc;

	service->context = g_main_context_new();
	service->cancel = g_cancellable_new();
	service->timeout_ms = timeout_ms;
	g_main_context_push_thread_default(service->context);
	timer_start(service, timeout_ms, deadline_passed);
	if (cancel_fd >= 0)
		cancel_watch(service, cancel_fd);
	g_bus_get(G_BUS_TYPE_SESSION, service->cancel, call_done, service);
	result = call_wait(service);
	service->bus = result ? g_bus_get_finish(result, &cause) : NULL;
	if (service->bus) {
		/* a mount outlives the session that it was made in */
		g_dbus_connection_set_exit_on_close(service->bus, FALSE);
		secret_service_open(
			SECRET_TYPE_SERVICE, NULL, SECRET_SERVICE_OPEN_SESSION, service->cancel, call_done, service);
		result = call_wait(service);
		service->proxy = result ? secret_service_open_finish(result, &cause) : NULL;
	}
	if (!service->proxy) {
		rc = failed(service, cause, err);
		service_close(service);
		return rc;
	}
	*service_out = service;
	return 0;
}

/* The attributes are in the clear for every program of the session. */
static GHashTable *attributes_of(const struct auth_config *config)
{
	GHashTable *attributes = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);

	g_hash_table_insert(attributes, (char *)"account", g_utf8_make_valid(config->account, -1));
	/* a path may have any bytes */
	g_hash_table_insert(attributes, (char *)"state_dir", g_uri_escape_string(config->state_dir, "/", FALSE));
	return attributes;
}

static void items_free(GList *items)
{
	g_list_free_full(items, g_object_unref);
}

static int items_find(struct service *service, const struct auth_config *config, SecretSearchFlags flags,
	GList **items_out, struct error *err)
{
	g_autoptr(GHashTable) attributes = attributes_of(config);
	GAsyncResult *result;
	GError *cause = NULL;

	secret_service_search(service->proxy, &schema, attributes, flags, service->cancel, call_done, service);
	result = call_wait(service);
	*items_out = result ? secret_service_search_finish(service->proxy, result, &cause) : NULL;
	return !result || cause ? failed(service, cause, err) : 0;
}

/* A keyring, or an item in it. */
static int object_unlock(struct service *service, void *object, struct error *err)
{
	GList only = {.data = object};
	GAsyncResult *result;
	GError *cause = NULL;
	GList *done = NULL;
	int rc = 0;

	secret_service_unlock(service->proxy, &only, service->cancel, call_done, service);
	result = call_wait(service);
	if (!result || secret_service_unlock_finish(service->proxy, result, &done, &cause) < 0 || cause)
		rc = failed(service, cause, err);
	else if (!done)
		rc = locked(err);
	items_free(done);
	return rc;
}

int auth_secret_unlock(int cancel_fd, struct error *err)
{
	GAsyncResult *result;
	SecretCollection *keyring = NULL;
	struct service *service;
	GError *cause = NULL;
	int rc = service_open(SECRET_SERVICE_PERSON_MS, cancel_fd, &service, err);

	if (rc != 0)
		return rc;
	secret_collection_for_alias(
		service->proxy, SECRET_COLLECTION_DEFAULT, SECRET_COLLECTION_NONE, service->cancel, call_done, service);
	result = call_wait(service);
	keyring = result ? secret_collection_for_alias_finish(result, &cause) : NULL;
	if (!result || cause)
		rc = failed(service, cause, err);
	/* where there is none yet, saving makes it */
	if (keyring && secret_collection_get_locked(keyring))
		rc = object_unlock(service, keyring, err);
	g_clear_object(&keyring);
	service_close(service);
	return rc;
}

static int item_read(SecretItem *item, size_t length_max, char **text_out, struct error *err)
{
	SecretValue *value = secret_item_get_locked(item) ? NULL : secret_item_get_secret(item);
	const char *bytes;
	gsize length = 0;

	if (!value)
		return locked(err);
	bytes = secret_value_get(value, &length);
	/* somebody else's: as a file with other contents it counts as none */
	if (length <= length_max) {
		*text_out = g_malloc0(length + 1);
		memcpy(*text_out, bytes, length);
	}
	secret_value_unref(value);
	return 0;
}

int auth_secret_load(const struct auth_config *config, size_t length_max, char **text_out, struct error *err)
{
	struct service *service;
	GList *items = NULL;
	int rc = service_open(SECRET_SERVICE_MS, -1, &service, err);

	*text_out = NULL;
	if (rc != 0)
		return rc;
	rc = items_find(service, config, SECRET_SEARCH_LOAD_SECRETS, &items, err);
	if (rc == 0 && items)
		rc = item_read(items->data, length_max, text_out, err);
	items_free(items);
	service_close(service);
	return rc;
}

static char *label_of(const struct auth_config *config)
{
	g_autoptr(GUri) url = g_uri_parse(config->token_url, G_URI_FLAGS_NONE, NULL);
	const char *host = url ? g_uri_get_host(url) : NULL;
	g_autofree char *label = g_strdup_printf(
		"mailtree: %s (%s, %s)", config->account, config->user, host ? host : "no host");

	return g_utf8_make_valid(label, -1);
}

int auth_secret_save(const struct auth_config *config, const char *text, struct error *err)
{
	g_autoptr(GHashTable) attributes = attributes_of(config);
	GAsyncResult *result;
	g_autofree char *label = label_of(config);
	struct service *service;
	SecretValue *value;
	GError *cause = NULL;
	int rc = service_open(SECRET_SERVICE_MS, -1, &service, err);

	if (rc != 0)
		return rc;
	value = secret_value_new(text, (gssize)strlen(text), "application/json");
	secret_service_store(service->proxy, &schema, attributes, SECRET_COLLECTION_DEFAULT, label, value,
		service->cancel, call_done, service);
	result = call_wait(service);
	if (!result || !secret_service_store_finish(service->proxy, result, &cause))
		rc = failed(service, cause, err);
	secret_value_unref(value);
	service_close(service);
	return rc;
}

static int item_delete(struct service *service, SecretItem *item, struct error *err)
{
	GAsyncResult *result;
	GError *cause = NULL;

	secret_item_delete(item, service->cancel, call_done, service);
	result = call_wait(service);
	return result && secret_item_delete_finish(item, result, &cause) ? 0 : failed(service, cause, err);
}

int auth_secret_forget(const struct auth_config *config, struct error *err)
{
	struct service *service;
	GList *items = NULL;
	int rc = service_open(SECRET_SERVICE_PERSON_MS, -1, &service, err);

	if (rc != 0)
		return rc;
	rc = items_find(service, config, SECRET_SEARCH_ALL, &items, err);
	for (GList *at = items; at && rc == 0; at = at->next) {
		if (secret_item_get_locked(at->data))
			rc = object_unlock(service, at->data, err);
		rc = rc ? rc : item_delete(service, at->data, err);
	}
	items_free(items);
	service_close(service);
	return rc;
}
