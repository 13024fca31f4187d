/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/generated.h"

#include "fs/node.h"

#include <pthread.h>

#include "src/base/banned.h"

struct generated {
	pthread_mutex_t lock; /* guards all below, and the counts of nodes */
	GHashTable *by_key;
	GHashTable *by_serial;
	uint32_t serial;
};

struct generated *generated_new(void)
{
	struct generated *generated = g_new0(struct generated, 1);

	pthread_mutex_init(&generated->lock, NULL);
	generated->by_key = g_hash_table_new(g_str_hash, g_str_equal);
	generated->by_serial = g_hash_table_new(NULL, NULL);
	return generated;
}

static void node_free(struct generated_node *node)
{
	g_free(node->key);
	if (node->kind->free)
		node->kind->free(node);
	else
		g_free(node);
}

void generated_free(struct generated *generated)
{
	GHashTableIter iter;
	gpointer node;

	if (!generated)
		return;
	g_hash_table_iter_init(&iter, generated->by_serial);
	while (g_hash_table_iter_next(&iter, NULL, &node))
		node_free(node);
	g_hash_table_unref(generated->by_key);
	g_hash_table_unref(generated->by_serial);
	pthread_mutex_destroy(&generated->lock);
	g_free(generated);
}

static gpointer serial_of(uint64_t nodeid)
{
	return GUINT_TO_POINTER((uint32_t)nodeid);
}

struct generated_node *generated_add(struct generated *generated, struct generated_node *node)
{
	struct generated_node *known;

	pthread_mutex_lock(&generated->lock);
	known = g_hash_table_lookup(generated->by_key, node->key);
	if (!known) {
		do {
			generated->serial = (generated->serial + 1) & ~NODE_OBJECT;
			node->nodeid = NODE_GENERATED | NODE_OBJECT | generated->serial;
		} while (g_hash_table_contains(generated->by_serial, serial_of(node->nodeid)));
		g_hash_table_insert(generated->by_key, node->key, node);
		g_hash_table_insert(generated->by_serial, serial_of(node->nodeid), node);
		node->references = 1; /* the kernel's, for all its lookups */
		known = g_steal_pointer(&node);
	} else if (!known->lookups) {
		known->references++;
	}
	known->lookups++;
	known->references++;
	pthread_mutex_unlock(&generated->lock);
	if (node)
		node_free(node);
	return known;
}

struct generated_node *generated_find(struct generated *generated, uint64_t nodeid)
{
	struct generated_node *node;

	pthread_mutex_lock(&generated->lock);
	node = g_hash_table_lookup(generated->by_serial, serial_of(nodeid));
	if (node)
		node->references++;
	pthread_mutex_unlock(&generated->lock);
	return node;
}

/* Caller holds the lock. True = it is nobody's any more, and out of the table. */
static bool drop(struct generated *generated, struct generated_node *node)
{
	if (--node->references)
		return false;
	g_hash_table_remove(generated->by_key, node->key);
	g_hash_table_remove(generated->by_serial, serial_of(node->nodeid));
	return true;
}

void generated_unref(struct generated *generated, struct generated_node *node)
{
	bool last;

	pthread_mutex_lock(&generated->lock);
	last = drop(generated, node);
	pthread_mutex_unlock(&generated->lock);
	if (last)
		node_free(node);
}

void generated_forget(struct generated *generated, uint64_t nodeid, uint64_t lookups)
{
	struct generated_node *node;
	bool last = false;

	pthread_mutex_lock(&generated->lock);
	node = g_hash_table_lookup(generated->by_serial, serial_of(nodeid));
	if (node && node->lookups) {
		node->lookups -= MIN(node->lookups, lookups);
		last = !node->lookups && drop(generated, node);
	}
	pthread_mutex_unlock(&generated->lock);
	if (last)
		node_free(node);
}

void generated_enter(struct ops *ops, struct generated_node *node, struct ops_entry *entry_out)
{
	struct generated_node *known = generated_add(ops->generated, node);

	entry_out->nodeid = known->nodeid;
	known->kind->stat(ops, known, &entry_out->stat, &entry_out->attr_timeout);
	generated_unref(ops->generated, known);
}
