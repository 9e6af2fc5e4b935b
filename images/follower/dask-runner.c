/* dask-runner, as an image has it: a follower of its node's leader, or the rest.
 *
 * Most ranks of a job do nothing but tell the leader of their node who they are and
 * wait for an exit status (dask_runner/node/follower.py, which says how and why). An
 * interpreter is a hundred times as much as that takes; and each container of a SIF
 * reads it anew, through a file system in user space. So the images have this, which
 * says the same to the same socket, and starts the Python program for all else.
 *
 * Its tables, limits and words come from follower.py itself (header.py). That both act
 * alike is seen in tests/images/test_image_follower.py, byte by byte.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* From images/scripts/build-follower.sh: the constants of follower.py (header.py), the
 * interpreter of the leader, and the Python program. */
#include "follower.h"
#if !defined(PYTHON) || !defined(PROGRAM)
#error "PYTHON and PROGRAM are wanted"
#endif

#define LENGTH_OF(array) (sizeof(array) / sizeof((array)[0]))

enum {
    LINE = 4096,        /* bytes of what the leader says that are kept */
    NOT_FOUND = 127,    /* the status of a shell */
    FEW = 1024,         /* descriptors that a launcher may have left open */
};

extern char **environ;

/* ------------------------------------------------------------------- signals */

static struct sigaction before[LENGTH_OF(SIGNALS)], alarm_before;
static volatile sig_atomic_t passes_on_to = -1;
/* As long as nobody plays our part: the signals to be raised for who does. */
static volatile sig_atomic_t kept[LENGTH_OF(SIGNALS)];
static volatile sig_atomic_t ending, played;

static void pass_on(int number)
{
    unsigned char byte = (unsigned char)number;
    /* If the leader is gone, that is read in a moment and says more. */
    if (passes_on_to >= 0)
        (void)send(passes_on_to, &byte, 1, MSG_NOSIGNAL);
}

static void handle(int number)
{
    int error = errno;
    if (number == SIGALRM)
        _exit(128 + ending);
    if (!played) {
        for (size_t i = 0; i < LENGTH_OF(SIGNALS); i++)
            if (SIGNALS[i] == number)
                kept[i] = true;
        for (size_t i = 0; i < LENGTH_OF(ENDS); i++)
            if (ENDS[i] == number && !ending) {
                ending = number;
                alarm(END_SECONDS);
            }
    }
    pass_on(number);
    errno = error;
}

static void mask_signals(int how)
{
    sigset_t signals;
    sigemptyset(&signals);
    for (size_t i = 0; i < LENGTH_OF(SIGNALS); i++)
        sigaddset(&signals, SIGNALS[i]);
    sigprocmask(how, &signals, NULL);
}

/* Until somebody acts on them (follower.py, hold_signals). */
static void hold_signals(void)
{
    mask_signals(SIG_BLOCK);
}

static void hear_signals(void)
{
    mask_signals(SIG_UNBLOCK);
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = handle};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < LENGTH_OF(SIGNALS); i++)
        sigaction(SIGNALS[i], &action, &before[i]);
    sigaction(SIGALRM, &action, &alarm_before);
    hear_signals();
}

/* Leave them to who plays our part now, with those that came meanwhile. */
static void release_signals(void)
{
    hold_signals();
    alarm(0);
    sigaction(SIGALRM, &alarm_before, NULL);
    for (size_t i = 0; i < LENGTH_OF(SIGNALS); i++) {
        sigaction(SIGNALS[i], &before[i], NULL);
        if (kept[i])
            raise(SIGNALS[i]);
    }
}

/* From now on the leader gets them, those first that came before. */
static void pass_signals_on(int leader)
{
    hold_signals();
    passes_on_to = leader;
    for (size_t i = 0; i < LENGTH_OF(SIGNALS); i++)
        if (kept[i])
            pass_on(SIGNALS[i]);
    hear_signals();
}

/* From now on the script may use its grace. */
static void let_signals_take_time(void)
{
    played = true;
    for (size_t i = 0; i < LENGTH_OF(SIGNALS); i++)
        kept[i] = false;
    alarm(0);
}

/* ------------------------------------------------------------ if it stands still */

static bool is_stopped(pid_t pid)
{
    char path[32], text[LINE];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t length = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[length] = '\0';
    const char *state = strrchr(text, ')');
    return state && strncmp(state, ") T ", 4) == 0;
}

/* The child that watches this process; 0 if there is none. */
static pid_t watch;

static void watch_and_kill(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, WATCHES);
    /* Others wait for the ends of what this has inherited. */
    if (syscall(SYS_close_range, 0, ~0U, 0) != 0)
        for (int descriptor = 0; descriptor < FEW; descriptor++)
            close(descriptor);
    /* A parent that has ended has left this process to another. */
    for (int stands = 0; getppid() == parent && stands < 2 * STOPPED_CHECK_SECONDS;) {
        sleep(1);
        stands = is_stopped(parent) ? stands + 1 : 0;
    }
    if (getppid() == parent)
        kill(parent, SIGKILL);
    _exit(0);
}

/* Have this process killed if it is stopped before Python is up and has the kernel do
 * that (kill_timer.py): a timer of the kernel does not outlive execve(2). */
static void have_it_watched(void)
{
    pid_t parent = getpid();
    watch = fork();
    if (watch == 0)
        watch_and_kill(parent);
    if (watch < 0)
        watch = 0; /* the system refuses, and may well refuse more than that */
}

/* From now on another does it. */
static void end_watch(void)
{
    if (watch) {
        kill(watch, SIGKILL);
        waitpid(watch, NULL, 0);
        watch = 0;
    }
}

/* -------------------------------------------------------- where the leader is */

static const char *variable(const char *name)
{
    const char *value = name ? getenv(name) : NULL;
    return value && *value ? value : NULL;
}

static bool has_all(const struct glance *glance)
{
    for (size_t i = 0; i < LENGTH_OF(glance->launch); i++)
        if (glance->launch[i] && !variable(glance->launch[i]))
            return false;
    return variable(glance->local_rank);
}

/* Whether the kernel shows strangers as users like us (follower.py, has_own_user). */
static bool has_own_user(void)
{
    long overflow = OVERFLOW;
    FILE *file = fopen("/proc/sys/kernel/overflowuid", "re");
    if (file) {
        if (fscanf(file, "%ld", &overflow) != 1)
            overflow = OVERFLOW;
        fclose(file);
    }
    return (long)geteuid() != overflow;
}

enum part { PLAYS_ALONE, LEADS, MAY_FOLLOW };

/* What this rank may be to the others of its node; the leader's socket's name then. */
static enum part find_part(int argc, char **argv, char name[LONGEST_NAME + 1])
{
    if (argc < 2)
        return PLAYS_ALONE;
    for (size_t i = 0; i < LENGTH_OF(NO_RUN); i++)
        if (strcmp(argv[1], NO_RUN[i]) == 0)
            return PLAYS_ALONE;

    const struct glance *glance = GLANCES, *end = GLANCES + LENGTH_OF(GLANCES);
    while (glance < end && !has_all(glance))
        glance++;
    if (glance == end || !has_own_user())
        return PLAYS_ALONE;
    if (strcmp(variable(glance->local_rank), "0") == 0)
        return LEADS;

    char *launch = NULL;
    size_t length;
    FILE *to = open_memstream(&launch, &length);
    if (!to)
        return PLAYS_ALONE;
    fprintf(to, "%u-%s", (unsigned)geteuid(), glance->launcher);
    for (size_t i = 0; i < LENGTH_OF(glance->launch) && glance->launch[i]; i++)
        fprintf(to, "-%s", variable(glance->launch[i]));
    bool complete = !ferror(to);
    if (fclose(to) != 0 || !complete) {
        free(launch);
        return PLAYS_ALONE;
    }
    /* What is too long loses its beginning, and the whole its end. */
    const char *last = length > LONGEST_NAME ? launch + length - LONGEST_NAME : launch;
    snprintf(name, LONGEST_NAME + 1, "dask-runner-%s", last);
    free(launch);
    return MAY_FOLLOW;
}

static bool is_ours(int leader)
{
    struct ucred told;
    socklen_t size = sizeof(told);
    return getsockopt(leader, SOL_SOCKET, SO_PEERCRED, &told, &size) == 0
        && told.uid == geteuid();
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Return a connection to the leader; -1 if there is none in time. */
static int find(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    /* An abstract name begins with NUL and has no end of its own (unix(7)). */
    size_t length = strlen(name);
    memcpy(address.sun_path + 1, name, length);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);

    int64_t latest = now_ms() + FIND_LEADER_MS;
    long pause = FIRST_LOOK_MS;
    for (;;) {
        /* Else connect(2) sleeps for as long as the listener's queue is full. */
        int leader = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (leader < 0)
            return -1;
        if (connect(leader, (struct sockaddr *)&address, size) == 0) {
            if (is_ours(leader) && fcntl(leader, F_SETFL, 0) == 0)
                return leader;
            close(leader);
            return -1;
        }
        close(leader);
        if (now_ms() > latest)
            return -1;
        /* There is no event to wait for: an abstract name has no directory. */
        nanosleep(&(struct timespec){.tv_nsec = pause * 1000000}, NULL);
        pause = pause * 3 / 2 < LAST_LOOK_MS ? pause * 3 / 2 : LAST_LOOK_MS;
    }
}

/* ---------------------------------------------------------- what is said to it */

static void field(FILE *to, const char *text)
{
    fwrite(text, 1, strlen(text) + 1, to);
}

/* Return a length and what the leader has to know; NULL on failure. */
static char *introduction(int argc, char **argv, size_t *size)
{
    char *text = NULL;
    FILE *to = open_memstream(&text, size);
    if (!to)
        return NULL;
    for (int i = 0; i < LENGTH; i++)
        fputc(0, to);
    field(to, VERSION);
    field(to, PYTHON);
    for (size_t i = 0; i < LENGTH_OF(SHARED); i++) {
        struct stat found;
        if (stat(SHARED[i], &found) == 0)
            fprintf(to, "%ju:%ju", (uintmax_t)found.st_dev, (uintmax_t)found.st_ino);
        field(to, "");
    }
    char *directory = getcwd(NULL, 0);
    field(to, directory ? directory : "");
    fprintf(to, "%d", argc - 1);
    field(to, "");
    for (int i = 1; i < argc; i++)
        field(to, argv[i]);
    for (char **entry = environ; *entry; entry++)
        if (strchr(*entry, '='))
            field(to, *entry);

    bool complete = directory && !ferror(to);
    free(directory);
    if (fclose(to) != 0 || !complete || *size - LENGTH > UINT32_MAX) {
        free(text);
        return NULL;
    }
    size_t length = *size - LENGTH;
    for (int i = LENGTH; i > 0; length >>= 8)
        text[--i] = (char)length;
    return text;
}

enum outcome { DONE, LATE, CUT };

static enum outcome send_all(int leader, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(leader, text, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN ? LATE : CUT;
        text += sent;
        size -= (size_t)sent;
    }
    return DONE;
}

/* Read a line; unless the time is over, or the connection ends before it does. */
static enum outcome read_line(int leader, char line[LINE])
{
    size_t length = 0;
    for (;;) {
        char byte;
        /* One at a time: what comes behind the line is somebody else's. */
        ssize_t got = recv(leader, &byte, 1, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return LATE;
        if (got <= 0)
            return CUT;
        if (byte == '\n')
            break;
        if (length < LINE - 1)
            line[length++] = byte;
    }
    line[length] = '\0';
    return DONE;
}

static void wait_at_most(int leader, time_t seconds)
{
    struct timeval limit = {.tv_sec = seconds};
    setsockopt(leader, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(leader, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

/* Wait for the leader's first word, and return whether there is something to read; kill
 * a leader that is stopped meanwhile, which nobody else may watch yet (follower.py). */
static bool await_answer(int leader)
{
    struct ucred told = {0};
    socklen_t size = sizeof(told);
    getsockopt(leader, SOL_SOCKET, SO_PEERCRED, &told, &size);
    int64_t latest = now_ms() + ANSWER_SECONDS * 1000;
    wait_at_most(leader, STOPPED_CHECK_SECONDS);
    for (int stands = 0;;) {
        char byte;
        ssize_t got = recv(leader, &byte, 1, MSG_PEEK);
        if (got < 0 && errno == EINTR)
            continue;
        if (got >= 0 || errno != EAGAIN)
            break;
        /* Twice: both may have been stopped together, and continued. */
        stands = told.pid > 0 && is_stopped(told.pid) ? stands + 1 : 0;
        if (stands > 1)
            kill(told.pid, SIGKILL);
        else if (now_ms() > latest)
            return false;
    }
    wait_at_most(leader, ANSWER_SECONDS);
    return true;
}

/* Tell the leader that we play our part ourselves. */
static int by_ourselves(int leader, unsigned char how)
{
    (void)send(leader, &how, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (how == STAYS)
        return leader;
    close(leader);
    return -1;
}

/* Return what is behind a word and a space, if the line begins with them. */
static const char *behind(const char *line, const char *word)
{
    size_t length = strlen(word);
    if (strncmp(line, word, length) != 0 || line[length] != ' ')
        return NULL;
    return line + length + 1;
}

/* Do as the leader says. Return the exit status; -1 if this process is to play its
 * part itself, with the connection that is left then, or -1. */
static int follow(const char *name, int argc, char **argv, int *connection)
{
    *connection = -1;
    int leader = find(name);
    if (leader < 0)
        return -1;
    wait_at_most(leader, ANSWER_SECONDS);
    size_t size;
    char *text = introduction(argc, argv, &size);
    enum outcome outcome = text ? send_all(leader, text, size) : LATE;
    free(text);
    if (outcome == DONE) {
        pass_signals_on(leader);
        outcome = await_answer(leader) ? DONE : LATE;
    }
    if (outcome == LATE) {
        *connection = by_ourselves(leader, HANGS_UP);
        return -1;
    } /* else it has hung up, and its last line says why */

    int status = -1;
    char words[LINE] = "", line[LINE];
    while ((outcome = read_line(leader, line)) == DONE) {
        const char *rest;
        if (strcmp(line, HELD) == 0) {
            /* It ends by itself, and its agent ends it if it stands still. */
            wait_at_most(leader, 0);
            end_watch();
            prctl(PR_SET_NAME, NAME);
        } else if ((rest = behind(line, PLAYED))) {
            char *end;
            status = (int)strtol(rest, &end, 10);
            strcpy(words, *end ? end + 1 : end);
            let_signals_take_time();
        } else if ((rest = behind(line, END))) {
            return atoi(rest);
        } else {
            bool stays = strcmp(line, YOURSELF) == 0;
            passes_on_to = -1;
            *connection = by_ourselves(leader, stays ? STAYS : HANGS_UP);
            return -1;
        }
    }
    if (outcome == LATE) {
        *connection = by_ourselves(leader, HANGS_UP);
        return -1;
    }
    if (status < 0) {
        /* The hub may not know of it. The rank finds its leader dead, and tells. */
        *connection = leader;
        return -1;
    }
    if (*words)
        dprintf(STDERR_FILENO, "%s\n", words);
    return status;
}

/* Where a standard stream is closed, a socket would take its number. */
static void open_standard_streams(void)
{
    int descriptor;
    do
        descriptor = open("/dev/null", O_RDWR);
    while (descriptor >= 0 && descriptor <= STDERR_FILENO);
    close(descriptor);
}

int main(int argc, char **argv)
{
    open_standard_streams();
    char name[LONGEST_NAME + 1];
    enum part part = find_part(argc, argv, name);
    if (part != PLAYS_ALONE) {
        hold_signals();
        have_it_watched();
    }
    if (part == MAY_FOLLOW) {
        catch_signals();
        int connection;
        int status = follow(name, argc, argv, &connection);
        if (status >= 0)
            return status;
        release_signals();
        char number[16];
        snprintf(number, sizeof(number), "%d", connection);
        setenv(ALONE, number, true);
        if (connection >= 0) {
            wait_at_most(connection, 0);
            fcntl(connection, F_SETFD, 0);
        }
    }
    if (watch) {
        char number[16];
        snprintf(number, sizeof(number), "%d", (int)watch);
        setenv(WATCHED, number, true);
    }
    /* The agent that a leader forks has to hash as those of all nodes. */
    if (part == LEADS && !variable(HASH_SEED)) {
        setenv(HASH_SEED, SEED, true);
        setenv(SEEDED, "1", true);
    }
    argv[0] = PROGRAM;
    execv(PROGRAM, argv);
    dprintf(STDERR_FILENO, "dask-runner: error: %s cannot be started: %s\n", PROGRAM,
            strerror(errno));
    return NOT_FOUND;
}
