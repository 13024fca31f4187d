/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/http.h"
#include "src/auth/auth.h"
#include "src/base/roots.h"

#include <curl/curl.h>
#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

#define RETRY_AFTER_MAX_S 3600
/* Wakes up at least so often, to look at the deadline. */
#define POLL_MS 1000

struct transfer {
	const struct auth_http_request *request;
	struct auth_http_reply *reply;
	bool too_large;
	bool ca_failed;
};

static size_t body_write(char *data, size_t size, size_t count, void *ctx)
{
	struct transfer *transfer = ctx;
	size_t length = size * count;

	if (length > AUTH_HTTP_BODY_MAX - transfer->reply->length) {
		transfer->too_large = true;
		return 0;
	}
	memcpy(transfer->reply->body + transfer->reply->length, data, length);
	transfer->reply->length += length;
	return length;
}

static CURLcode on_tls_context(CURL *easy, void *ssl_ctx, void *ctx)
{
	struct transfer *transfer = ctx;
	enum roots_problem problem;
	char *bundle = NULL, *folder = NULL;

	/* where this libcurl was built to look, whatever the handle is set to */
	curl_easy_getinfo(easy, CURLINFO_CAINFO, &bundle);
	curl_easy_getinfo(easy, CURLINFO_CAPATH, &folder);
	problem = roots_use(ssl_ctx, &(struct roots_places){bundle, folder, transfer->request->ca_file});
	transfer->ca_failed = problem == ROOTS_NO_CA_FILE;
	return problem == ROOTS_FINE ? CURLE_OK : CURLE_SSL_CACERT_BADFILE;
}

static void easy_setup(CURL *easy, struct transfer *transfer, struct curl_slist *headers, char *error_text)
{
	const struct auth_http_request *request = transfer->request;
	bool plain = g_ascii_strncasecmp(request->url, "http:", 5) == 0;

	curl_easy_setopt(easy, CURLOPT_URL, request->url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, plain ? "http" : "https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	/* https_proxy and no_proxy are honoured: TLS goes through. Plain HTTP is for loopback, never for a proxy. */
	if (plain)
		curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	/* Roots are read by us: no more of them than it takes. */
	curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls_context);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, transfer);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	/* a resolver that hangs must not hold up the end of the program */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->timeout_ms);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "mailtree/" MAILTREE_VERSION);
	if (request->form) {
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->form);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->form_length);
	}
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_write);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error_text);
}

/* Runs to the end; ERR_INTERRUPTED when cancelled. */
static int transfer_run(CURLM *multi, int cancel_fd, CURLcode *result_out, struct error *err)
{
	struct curl_waitfd cancel = {.fd = cancel_fd, .events = CURL_WAIT_POLLIN};
	int running = 1, left;
	CURLMsg *message;

	for (;;) {
		CURLMcode rc = curl_multi_perform(multi, &running);

		if (rc == CURLM_OK && !running)
			break;
		if (rc == CURLM_OK)
			rc = curl_multi_poll(multi, &cancel, cancel_fd >= 0 ? 1 : 0, POLL_MS, NULL);
		if (rc != CURLM_OK)
			return error_set(err, ERR_FAILED, "libcurl: %s", curl_multi_strerror(rc));
		if (cancel.revents)
			return error_set(err, ERR_INTERRUPTED, "given up");
	}
	message = curl_multi_info_read(multi, &left);
	if (!message || message->msg != CURLMSG_DONE)
		return error_set(err, ERR_FAILED, "libcurl ended without a result");
	*result_out = message->data.result;
	return 0;
}

static int result_error(const struct transfer *transfer, CURLcode result, const char *error_text, struct error *err)
{
	const char *why = *error_text ? error_text : curl_easy_strerror(result);

	if (transfer->too_large)
		return error_set(
			err, ERR_UNREACHABLE, "an answer of more than %u KiB is too long", AUTH_HTTP_BODY_MAX / 1024);
	if (transfer->ca_failed)
		return error_set(
			err, ERR_CONFIG, "ca_file %s: can't be read as PEM certificates", transfer->request->ca_file);
	switch (result) {
	case CURLE_OPERATION_TIMEDOUT:
		return error_set(
			err, ERR_TIMEOUT, "no complete answer within %u ms", (unsigned)transfer->request->timeout_ms);
	case CURLE_PEER_FAILED_VERIFICATION:
		error_set(err, ERR_UNREACHABLE, "its certificate can't be verified: %s", why);
		error_hint(err, "where a company's proxy intercepts TLS, set `ca_file` to its root certificate");
		return err ? err->code : ERR_UNREACHABLE;
	default:
		return error_set(err, ERR_UNREACHABLE, "%s", why);
	}
}

static void reply_read_info(CURL *easy, struct auth_http_reply *reply)
{
	curl_off_t retry_after = 0;
	const char *type = NULL, *location = NULL;

	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &reply->status);
	curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type);
	curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after);
	curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &location);
	reply->location = g_strdup(location);
	if (type)
		g_strlcpy(reply->content_type, type, sizeof(reply->content_type));
	reply->retry_after_s = CLAMP(retry_after, 0, RETRY_AFTER_MAX_S);
}

/* Once and for good: ending it could pull libcurl from under a connection of another thread. */
static void libcurl_init(void)
{
	static gsize done;

	if (g_once_init_enter(&done)) {
		curl_global_init(CURL_GLOBAL_DEFAULT);
		g_once_init_leave(&done, 1);
	}
}

int auth_http_run(const struct auth_http_request *request, struct auth_http_reply *reply_out, struct error *err)
{
	char error_text[CURL_ERROR_SIZE] = "";
	struct transfer transfer = {.request = request, .reply = reply_out};
	CURLcode result = CURLE_OK;
	struct curl_slist *headers = NULL;
	CURL *easy;
	CURLM *multi;
	int rc;

	*reply_out = (struct auth_http_reply){0};
	libcurl_init();
	easy = curl_easy_init();
	multi = curl_multi_init();
	headers = curl_slist_append(NULL, request->form ? "Accept: application/json" : "Accept: */*");
	if (!easy || !multi || !headers) {
		rc = error_set(err, ERR_FAILED, "libcurl can't be initialised");
		goto out;
	}
	/* the whole limit at once: untouched pages cost nothing, and growing would leave copies of the token */
	reply_out->body = g_malloc0(AUTH_HTTP_BODY_MAX + 1);
	easy_setup(easy, &transfer, headers, error_text);
	curl_multi_add_handle(multi, easy);
	rc = transfer_run(multi, request->cancel_fd, &result, err);
	if (rc == 0 && result != CURLE_OK)
		rc = result_error(&transfer, result, error_text, err);
	if (rc == 0) {
		reply_read_info(easy, reply_out);
		reply_out->body[reply_out->length] = '\0';
	}
	curl_multi_remove_handle(multi, easy);
out:
	curl_multi_cleanup(multi);
	curl_easy_cleanup(easy);
	curl_slist_free_all(headers);
	return rc;
}

void auth_http_reply_fini(struct auth_http_reply *reply)
{
	if (reply->body)
		secret_wipe(reply->body, reply->length);
	g_free(reply->body);
	g_free(reply->location);
	*reply = (struct auth_http_reply){0};
}
