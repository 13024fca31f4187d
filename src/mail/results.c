/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What searches have found: immutable once it is kept, any thread's, bounded in number and size. */
#include "src/base/loop.h"
#include "src/mail/internal.h"

#include <string.h>

#include "src/base/banned.h"

struct mail_results *results_new(const char *text, uint64_t as_of_ms)
{
	struct mail_results *results = g_new0(struct mail_results, 1);

	atomic_init(&results->references, 1);
	results->text = g_strdup(text);
	results->as_of_ms = as_of_ms;
	results->folders = g_ptr_array_new_with_free_func((GDestroyNotify)mail_folder_unref);
	results->numbers = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	results->found = g_array_new(FALSE, FALSE, sizeof(struct found));
	return results;
}

struct mail_results *mail_results_ref(struct mail_results *results)
{
	atomic_fetch_add(&results->references, 1);
	return results;
}

void mail_results_unref(struct mail_results *results)
{
	if (!results || atomic_fetch_sub(&results->references, 1) != 1)
		return;
	g_ptr_array_unref(results->folders);
	g_array_unref(results->numbers);
	g_array_unref(results->found);
	if (results->by_uid)
		g_array_unref(results->by_uid);
	g_free(results->text);
	g_free(results);
}

guint mail_results_count(const struct mail_results *results)
{
	return results->found->len;
}

void mail_results_get(const struct mail_results *results, guint index, struct mail_hit *hit_out)
{
	struct found found = g_array_index(results->found, struct found, index);

	*hit_out = (struct mail_hit){
		.folder = results->folders->pdata[found.folder],
		.message_number = g_array_index(results->numbers, uint32_t, found.folder),
		.uid = found.uid,
	};
}

static uint32_t uid_at(const struct mail_results *results, guint at)
{
	return g_array_index(results->found, struct found, g_array_index(results->by_uid, guint, at)).uid;
}

bool mail_results_same_uid(const struct mail_results *results, uint32_t uid, guint index, struct mail_hit *hit_out)
{
	guint low = 0, high = results->by_uid->len;

	while (low < high) {
		guint middle = low + (high - low) / 2;

		if (uid_at(results, middle) < uid)
			low = middle + 1;
		else
			high = middle;
	}
	if (index >= results->by_uid->len - low || uid_at(results, low + index) != uid)
		return false;
	mail_results_get(results, g_array_index(results->by_uid, guint, low + index), hit_out);
	return true;
}

uint64_t mail_results_serial(const struct mail_results *results)
{
	return results->serial;
}

struct mail_results *mail_results_known(struct mail *mail, uint64_t serial)
{
	struct mail_results *found = NULL;

	pthread_mutex_lock(&mail->results_lock);
	for (GList *link = mail->results.tail; link && !found; link = link->prev) {
		struct mail_results *results = link->data;

		if (results->serial == serial)
			found = mail_results_ref(results);
	}
	pthread_mutex_unlock(&mail->results_lock);
	return found;
}

static int found_compare(gconstpointer a, gconstpointer b, gpointer data)
{
	const struct found *left = a, *right = b;
	const struct mail_results *results = data;

	if (left->folder != right->folder) {
		const struct mail_folder *x = results->folders->pdata[left->folder];
		const struct mail_folder *y = results->folders->pdata[right->folder];

		return x->number < y->number ? -1 : x->number > y->number;
	}
	return left->uid < right->uid ? -1 : left->uid > right->uid;
}

static int uid_compare(gconstpointer a, gconstpointer b, gpointer data)
{
	const struct mail_results *results = data;
	guint left = *(const guint *)a, right = *(const guint *)b;
	uint32_t x = g_array_index(results->found, struct found, left).uid;
	uint32_t y = g_array_index(results->found, struct found, right).uid;

	if (x != y)
		return x < y ? -1 : 1;
	return left < right ? -1 : left > right;
}

void results_sort(struct mail_results *results)
{
	g_array_sort_with_data(results->found, found_compare, results);
	results->by_uid = g_array_sized_new(FALSE, FALSE, sizeof(guint), results->found->len);
	for (guint i = 0; i < results->found->len; i++)
		g_array_append_val(results->by_uid, i);
	g_array_sort_with_data(results->by_uid, uid_compare, results);
}

struct mail_results *results_find(struct mail *mail, const char *text, uint64_t since_ms)
{
	struct mail_results *found = NULL;
	uint64_t now_ms = clock_ms();

	pthread_mutex_lock(&mail->results_lock);
	for (GList *link = mail->results.tail; link && !found; link = link->prev) {
		struct mail_results *results = link->data;

		if (strcmp(results->text, text) != 0)
			continue;
		if (now_ms - results->as_of_ms >= mail->config.poll_s * 1000ull &&
			!(since_ms && results->as_of_ms >= since_ms))
			break;
		found = mail_results_ref(results);
		g_queue_unlink(&mail->results, link);
		g_queue_push_tail_link(&mail->results, link);
	}
	pthread_mutex_unlock(&mail->results_lock);
	return found;
}

void results_keep(struct mail *mail, struct mail_results *results)
{
	g_autoptr(GPtrArray) dropped = g_ptr_array_new_with_free_func((GDestroyNotify)mail_results_unref);

	pthread_mutex_lock(&mail->results_lock);
	results->serial = ++mail->results_serial;
	for (GList *link = mail->results.head, *next; link; link = next) {
		struct mail_results *other = link->data;

		next = link->next;
		if (strcmp(other->text, results->text) != 0)
			continue;
		g_queue_delete_link(&mail->results, link);
		g_ptr_array_add(dropped, other);
	}
	g_queue_push_tail(&mail->results, results);
	if (mail->results.length > MAIL_RESULTS_MAX)
		g_ptr_array_add(dropped, g_queue_pop_head(&mail->results));
	pthread_mutex_unlock(&mail->results_lock);
}
