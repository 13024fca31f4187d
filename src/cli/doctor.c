/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/doctor.h"
#include "src/auth/sasl_inspect.h"
#include "src/base/loop.h"
#include "src/cli/output.h"
#include "src/cli/style.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

#define LABEL_COLUMNS 16

struct printer {
	bool colours;
	bool words; /* the terminal's character set has no check marks */
	int code;   /* of the output */
	struct error *err;
};

/* ---- for people ---- */

static void printer_init(struct printer *printer, struct error *err)
{
	*printer = (struct printer){.err = err, .colours = style_wanted(), .words = !g_get_charset(NULL)};
}

static char *mark(const struct printer *printer, enum doctor_state state)
{
	static const struct {
		const char *mark, *word;
		enum style style;
	} marks[] = {
		[DOCTOR_FINE] = {"✓", "ok  ", STYLE_GOOD},
		[DOCTOR_FAULTY] = {"✗", "FAIL", STYLE_BAD},
		[DOCTOR_SKIPPED] = {"–", "-   ", STYLE_DIM},
	};

	return style_paint(
		printer->colours, marks[state].style, printer->words ? marks[state].word : marks[state].mark);
}

static void on_step(void *ctx, const struct doctor_step *step)
{
	struct printer *printer = ctx;
	g_autofree char *sign = mark(printer, step->state);
	g_autofree char *label = output_cell(step->label, LABEL_COLUMNS, true);
	g_autofree char *detail = output_cell(step->detail, 0, false);
	g_autofree char *time = step->state == DOCTOR_SKIPPED ? g_strdup("")
	                        : step->ms < 1000             ? g_strdup_printf("%u ms", (unsigned)step->ms)
	                                                      : g_strdup_printf("%.1f s", (double)step->ms / 1000);

	if (!printer->code)
		printer->code = output_print(printer->err, "%s %s %8s  %s\n", sign, label, time, detail);
	/* each as it ends: the next may take its time */
	if (!printer->code)
		printer->code = output_flush(printer->err);
}

static int print_causes(const GPtrArray *causes, const char *heading, struct error *err)
{
	int code = 0;

	if (causes->len)
		code = output_print(err, "\n%s\n", heading);
	for (guint i = 0; i < causes->len && code == 0; i++) {
		const struct auth_cause *cause = causes->pdata[i];

		code = output_print(err, "\n%u. %s%s\n   seen:  %s\n   check: %s\n   fix:   %s\n", i + 1, cause->title,
			cause->certain ? " (certain)" : "", cause->evidence, cause->check, cause->fix);
	}
	return code;
}

/* ---- for programs ---- */

static cJSON *step_json(const struct doctor_step *step)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddStringToObject(object, "name", step->name);
	if (step->state == DOCTOR_SKIPPED)
		cJSON_AddNullToObject(object, "ok");
	else
		cJSON_AddBoolToObject(object, "ok", step->state == DOCTOR_FINE);
	cJSON_AddNumberToObject(object, "ms", (double)step->ms);
	cJSON_AddStringToObject(object, "detail", step->detail);
	return object;
}

static cJSON *cause_json(const struct auth_cause *cause)
{
	cJSON *object = cJSON_CreateObject();

	cJSON_AddStringToObject(object, "id", cause->id);
	cJSON_AddStringToObject(object, "title", cause->title);
	cJSON_AddBoolToObject(object, "certain", cause->certain);
	cJSON_AddStringToObject(object, "evidence", cause->evidence);
	cJSON_AddStringToObject(object, "check", cause->check);
	cJSON_AddStringToObject(object, "fix", cause->fix);
	return object;
}

static bool is_fine(const struct doctor *doctor)
{
	for (guint i = 0; i < doctor->steps->len; i++)
		if (((const struct doctor_step *)doctor->steps->pdata[i])->state == DOCTOR_FAULTY)
			return false;
	return doctor->causes->len == 0;
}

static int print_json(const struct doctor *doctor, struct error *err)
{
	cJSON *report = cJSON_CreateObject(), *list;
	char *text;
	int code;

	cJSON_AddBoolToObject(report, "ok", is_fine(doctor));
	list = cJSON_AddArrayToObject(report, "steps");
	for (guint i = 0; i < doctor->steps->len; i++)
		cJSON_AddItemToArray(list, step_json(doctor->steps->pdata[i]));
	list = cJSON_AddArrayToObject(report, "causes");
	for (guint i = 0; i < doctor->causes->len; i++)
		cJSON_AddItemToArray(list, cause_json(doctor->causes->pdata[i]));
	text = cJSON_Print(report);
	code = output_print(err, "%s\n", text);
	cJSON_free(text);
	cJSON_Delete(report);
	return code;
}

/* ---- an account ---- */

static const char *heading_of(const GPtrArray *causes)
{
	return causes->len == 1 ? "The cause:" : "The causes, the likeliest first:";
}

static int examine_account(struct call *call, bool json, struct error *err)
{
	struct printer printer;
	struct doctor doctor;
	int code, printed;

	printer_init(&printer, err);
	doctor_init(&doctor);
	if (!json) {
		doctor.ended = on_step;
		doctor.ctx = &printer;
	}
	code = doctor_examine(&doctor, call);
	printed = printer.code;
	if (!printed)
		printed = json ? print_json(&doctor, err) : print_causes(doctor.causes, heading_of(doctor.causes), err);
	if (!printed && !json && is_fine(&doctor))
		printed = output_print(err, "\nEverything works.\n");
	doctor_fini(&doctor);
	return printed ? printed : code;
}

/* ---- what another program sends ---- */

static int input_read(const char *path, GString *text, struct error *err)
{
	int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	char buffer[4096];
	ssize_t n = -1;

	while (fd >= 0 && (n = read(fd, buffer, sizeof(buffer))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || text->len + (size_t)n > AUTH_INSPECT_BYTES_MAX)
			break;
		g_string_append_len(text, buffer, n);
	}
	secret_wipe(buffer, sizeof(buffer));
	if (n < 0)
		error_set(err, ERR_FAILED, "%s: %s", path, g_strerror(errno));
	else if (n > 0)
		error_set(err, ERR_FAILED, "%s: more than %u KiB: this isn't an initial response", path,
			AUTH_INSPECT_BYTES_MAX / 1024);
	if (fd >= 0)
		close(fd);
	return n == 0 ? 0 : ERR_FAILED;
}

static void inspection_take(struct doctor *doctor, struct auth_inspection *inspection)
{
	for (guint i = 0; i < inspection->layers->len; i++) {
		const struct auth_layer *layer = inspection->layers->pdata[i];

		doctor_step_add(doctor, layer->name, layer->name, layer->ok ? DOCTOR_FINE : DOCTOR_FAULTY, 0,
			g_strdup(layer->detail));
	}
	doctor->causes = g_steal_pointer(&inspection->faults);
	auth_inspection_fini(inspection);
}

static int examine_response(const char *path, bool json, struct error *err)
{
	/* sized at once: a buffer that grows leaves copies of the secret behind */
	GString *text = g_string_sized_new(AUTH_INSPECT_BYTES_MAX + 1);
	struct auth_inspection inspection;
	struct printer printer;
	struct doctor doctor;
	int code = input_read(path, text, err);

	printer_init(&printer, err);
	doctor_init(&doctor);
	if (code == 0) {
		auth_inspect(text->str, text->len, clock_unix(), &inspection);
		if (!json) {
			doctor.ended = on_step;
			doctor.ctx = &printer;
		}
		inspection_take(&doctor, &inspection);
		code = printer.code;
		if (code == 0)
			code = json ? print_json(&doctor, err)
			            : print_causes(doctor.causes, "What is wrong, from the outside in:", err);
		if (code == 0 && !is_fine(&doctor))
			code = ERR_FAILED;
	}
	secret_wipe(text->str, text->len);
	g_string_free(text, TRUE);
	doctor_fini(&doctor);
	return code;
}

/* ---- the command ---- */

static int run(struct call *call, struct error *err)
{
	g_autofree char *response = NULL;
	gboolean json = FALSE;
	const GOptionEntry entries[] = {
		{"json", 0, 0, G_OPTION_ARG_NONE, &json, "an object with steps and causes", NULL},
		{"sasl", 0, 0, G_OPTION_ARG_FILENAME, &response,
			"examine the initial response that another program sends (- is standard input)", "FILE"},
		{NULL},
	};
	int code = call_parse(call, entries, err);

	if (code != 0)
		return code;
	if ((response != NULL) == (call_argument(call, 0) != NULL)) {
		error_set(err, ERR_USAGE,
			response ? "doctor: --sasl takes no ACCOUNT" : "doctor: an argument is missing");
		error_hint(err, "mailtree doctor ACCOUNT, or mailtree doctor --sasl FILE");
		return ERR_USAGE;
	}
	return response ? examine_response(response, json, err) : examine_account(call, json, err);
}

const struct command command_doctor = {
	.name = "doctor",
	.arguments = "[ACCOUNT]",
	.summary = "find out why there is no mail, and what to do",
	.description = "Tries every step from the configuration to one message. For what fails it lists the causes, "
		       "the likeliest first, each with what was seen, how to check it and how to fix it. No secret is "
		       "printed.\n\n"
		       "Example:\n"
		       "  mailtree doctor work\n"
		       "  mailtree doctor --sasl response.txt",
	.arguments_min = 0,
	.arguments_max = 1,
	.run = run,
};
