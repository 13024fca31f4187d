/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/setup_ask.h"
#include "src/base/secret.h"
#include "src/cli/output.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "src/base/banned.h"

#define ANSWER_BYTES_MAX 4096u
#define WRONG_ANSWERS_MAX 5 /* of a pipe that doesn't know the questions */

static int no_answer(struct error *err)
{
	error_set(err, ERR_FAILED, "setup: there are no more answers; nothing was written");
	error_hint(err, "run it on a terminal");
	return ERR_FAILED;
}

/* Byte by byte: what follows belongs to the next question, or to another program. */
static int line_read(char line[ANSWER_BYTES_MAX], struct error *err)
{
	size_t length = 0;
	char byte;
	ssize_t got;

	while ((got = read(STDIN_FILENO, &byte, 1)) == 1 && byte != '\n')
		if (length + 1 < ANSWER_BYTES_MAX)
			line[length++] = byte;
	line[length] = '\0';
	if (got < 0 && errno == EINTR)
		return error_set(err, ERR_INTERRUPTED, "setup: interrupted; nothing was written");
	if (got != 1 && length == 0)
		return no_answer(err);
	if (length + 1 == ANSWER_BYTES_MAX)
		return error_set(err, ERR_FAILED, "setup: an answer of more than %u bytes", ANSWER_BYTES_MAX - 2);
	return 0;
}

/* NULL = this can't stand in the configuration. */
static const char *fault(const char *line)
{
	if (!g_utf8_validate(line, -1, NULL))
		return "isn't UTF-8";
	for (const char *at = line; *at; at++)
		if (g_ascii_iscntrl(*at))
			return "contains a control character";
	return NULL;
}

static int say(struct error *err, const char *what)
{
	int code = output_print(err, "%s", what);

	return code ? code : output_flush(err);
}

int ask_text(const char *question, const char *standard, char **answer_out, struct error *err)
{
	char line[ANSWER_BYTES_MAX];
	g_autofree char *prompt = standard && *standard ? g_strdup_printf("%s [%s]: ", question, standard)
	                                                : g_strdup_printf("%s: ", question);
	int code = 0;

	for (int tries = 0; tries < WRONG_ANSWERS_MAX && code == 0; tries++) {
		const char *wrong;

		code = say(err, prompt);
		code = code ? code : line_read(line, err);
		if (code != 0)
			return code;
		wrong = fault(line);
		g_strstrip(line);
		if (!wrong && (*line || standard)) {
			*answer_out = g_strdup(*line ? line : standard);
			return 0;
		}
		if (wrong)
			code = output_print(err, "That %s.\n", wrong);
	}
	return code ? code : no_answer(err);
}

int ask_choice(const char *question, const char *const *choices, size_t count, size_t *chosen_out, struct error *err)
{
	int code = output_print(err, "\n%s\n", question);

	for (size_t i = 0; i < count && code == 0; i++)
		code = output_print(err, "  %zu  %s\n", i + 1, choices[i]);
	for (int tries = 0; tries < WRONG_ANSWERS_MAX && code == 0; tries++) {
		g_autofree char *answer = NULL;
		guint64 number;

		code = ask_text("Number", "1", &answer, err);
		if (code == 0 && g_ascii_string_to_unsigned(answer, 10, 1, count, &number, NULL)) {
			*chosen_out = (size_t)number - 1;
			return 0;
		}
	}
	return code ? code : no_answer(err);
}

int ask_yes(const char *question, bool standard, bool *yes_out, struct error *err)
{
	int code = 0;

	for (int tries = 0; tries < WRONG_ANSWERS_MAX && code == 0; tries++) {
		g_autofree char *answer = NULL;

		code = ask_text(question, standard ? "yes" : "no", &answer, err);
		if (code == 0 && (g_ascii_strcasecmp(answer, "y") == 0 || g_ascii_strcasecmp(answer, "yes") == 0)) {
			*yes_out = true;
			return 0;
		}
		if (code == 0 && (g_ascii_strcasecmp(answer, "n") == 0 || g_ascii_strcasecmp(answer, "no") == 0)) {
			*yes_out = false;
			return 0;
		}
	}
	return code ? code : no_answer(err);
}

/* ---- secrets ---- */

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	interrupted = number;
}

int ask_secret(const char *question, char **answer_out, struct error *err)
{
	/* without SA_RESTART: it ends the read, and the terminal shows what is typed again before we end */
	const struct sigaction action = {.sa_handler = on_signal};
	struct sigaction before;
	struct termios shown, hidden;
	bool is_terminal = tcgetattr(STDIN_FILENO, &shown) == 0;
	char line[ANSWER_BYTES_MAX];
	g_autofree char *prompt = g_strdup_printf("%s: ", question);
	int code;

	interrupted = 0;
	sigaction(SIGINT, &action, &before);
	if (is_terminal) {
		hidden = shown;
		hidden.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
	}
	/* behind that: an answer that comes with the question isn't thrown away, nor shown */
	line[0] = '\0';
	code = say(err, prompt);
	if (code == 0)
		code = line_read(line, err);
	if (is_terminal) {
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
		output_print(NULL, "\n");
	}
	sigaction(SIGINT, &before, NULL);
	if (interrupted)
		raise(SIGINT);
	g_strchomp(line);
	if (code == 0 && (!*line || fault(line) || g_ascii_isspace(*line)))
		code = error_set(
			err, ERR_FAILED, "setup: this secret can't stand in the configuration: keep it in a file");
	if (code == 0)
		*answer_out = g_strdup(line);
	secret_wipe(line, sizeof(line));
	return code;
}
