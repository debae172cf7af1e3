/*
 * What a process does to the files below one folder, in order: every write with its bytes, every sync, rename, creation and
 * removal. From this log a test computes what a disk may hold after the power failed at any moment (power_loss.py).
 *
 *   cc -shared -fPIC -O2 -o power_loss.so power_loss.c;  LD_PRELOAD=./power_loss.so python ...
 *
 * The process calls power_loss_start(folder, log) once and power_loss_acknowledge(n) whenever it promised something. Syncs are
 * logged and not carried out: what counts is that the program asked for them. Files that end in "-shm" are left out: SQLite maps
 * them, they are not meant to survive, and they are rebuilt. That nothing else escapes is checked by the test: the log replayed in
 * full must give the folder as it is.
 *
 * Linux, 64 bits. One thread writes at a time (the interpreter's lock sees to it).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, RESIZE, SYNC, RENAME, UNLINK, MKDIR, ACKNOWLEDGE };
enum { FILES_MAX = 4096 };

static char root[PATH_MAX];
static size_t root_n;
static int log_fd = -1;
static ino_t inode_of[FILES_MAX]; /* by file descriptor; 0: not ours */

static void record(int64_t op, int64_t inode, int64_t offset, const void *data, size_t size)
{
    int saved = errno;
    int64_t head[4] = {op, inode, offset, (int64_t)size};
    struct iovec parts[2] = {{head, sizeof head}, {(void *)data, size}};
    (void)!syscall(SYS_writev, log_fd, parts, size ? 2 : 1);
    errno = saved;
}

/* The path below the folder, or NULL when it is none of ours. */
static const char *ours(const char *path)
{
    size_t n = strlen(path);
    if (log_fd < 0 || n < root_n || memcmp(path, root, root_n) != 0)
        return NULL;
    if (n >= 4 && strcmp(path + n - 4, "-shm") == 0)
        return NULL;
    if (path[root_n] == '\0')
        return path + root_n;
    return path[root_n] == '/' ? path + root_n + 1 : NULL;
}

static int watched(int fd)
{
    struct stat found;
    return log_fd >= 0 && fd >= 0 && fd < FILES_MAX && inode_of[fd] != 0 && fstat(fd, &found) == 0 && found.st_ino == inode_of[fd];
}

int power_loss_start(const char *folder, const char *log)
{
    root_n = strlen(folder);
    memcpy(root, folder, root_n + 1);
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return log_fd;
}

void power_loss_acknowledge(int64_t n)
{
    record(ACKNOWLEDGE, 0, n, NULL, 0);
}

static int opened(int at, const char *path, int flags, mode_t mode)
{
    const char *name = path[0] == '/' ? ours(path) : NULL;
    int was_there = name != NULL && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
    int fd = (int)syscall(SYS_openat, at, path, flags, mode);
    if (fd < 0 || fd >= FILES_MAX)
        return fd;
    inode_of[fd] = 0;
    struct stat found;
    if (name == NULL || fstat(fd, &found) != 0)
        return fd;
    inode_of[fd] = found.st_ino;
    if (!was_there && (flags & O_CREAT))
        record(CREATE, (int64_t)found.st_ino, 0, name, strlen(name));
    else if (flags & O_TRUNC)
        record(RESIZE, (int64_t)found.st_ino, 0, NULL, 0);
    return fd;
}

#define MODE_OF(flags, mode)                                                                                                   \
    mode_t mode = 0;                                                                                                           \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                                     \
        va_list list;                                                                                                          \
        va_start(list, flags);                                                                                                 \
        mode = va_arg(list, mode_t);                                                                                           \
        va_end(list);                                                                                                          \
    }

int open(const char *path, int flags, ...) { MODE_OF(flags, mode) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_OF(flags, mode) return opened(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE_OF(flags, mode) return opened(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE_OF(flags, mode) return opened(at, path, flags, mode); }

int close(int fd)
{
    if (fd >= 0 && fd < FILES_MAX)
        inode_of[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

static ssize_t written_at(int fd, const void *data, size_t size, off_t offset)
{
    ssize_t done = syscall(SYS_pwrite64, fd, data, size, offset);
    if (done > 0 && watched(fd))
        record(WRITE, (int64_t)inode_of[fd], offset, data, (size_t)done);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return written_at(fd, data, size, offset); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return written_at(fd, data, size, offset); }

ssize_t write(int fd, const void *data, size_t size)
{
    ssize_t done = syscall(SYS_write, fd, data, size);
    if (done > 0 && watched(fd)) /* behind the write the position is its end, for O_APPEND too */
        record(WRITE, (int64_t)inode_of[fd], lseek(fd, 0, SEEK_CUR) - done, data, (size_t)done);
    return done;
}

static int resized(int fd, off_t size)
{
    int result = (int)syscall(SYS_ftruncate, fd, size);
    if (result == 0 && watched(fd))
        record(RESIZE, (int64_t)inode_of[fd], size, NULL, 0);
    return result;
}

int ftruncate(int fd, off_t size) { return resized(fd, size); }
int ftruncate64(int fd, off_t size) { return resized(fd, size); }

static int synced(int fd, long number)
{
    if (!watched(fd))
        return (int)syscall(number, fd);
    record(SYNC, (int64_t)inode_of[fd], 0, NULL, 0);
    return 0;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int rename(const char *from, const char *to)
{
    int result = (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
    const char *a = ours(from), *b = ours(to);
    if (result == 0 && (a != NULL || b != NULL)) {
        char both[2 * PATH_MAX];
        size_t n = strlen(a ? a : ""), m = strlen(b ? b : "");
        memcpy(both, a ? a : "", n + 1);
        memcpy(both + n + 1, b ? b : "", m);
        record(RENAME, 0, 0, both, n + 1 + m);
    }
    return result;
}

int unlink(const char *path)
{
    int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    const char *name = ours(path);
    if (result == 0 && name != NULL)
        record(UNLINK, 0, 0, name, strlen(name));
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    int result = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    const char *name = ours(path);
    struct stat found;
    if (result == 0 && name != NULL && stat(path, &found) == 0)
        record(MKDIR, (int64_t)found.st_ino, 0, name, strlen(name));
    return result;
}
