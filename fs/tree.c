/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/tree.h"

#include "fs/attachments.h"
#include "fs/view.h"

#include "src/base/banned.h"

const struct tree *const trees[] = {&text_tree, &attachments_tree, &tree_search, NULL};
