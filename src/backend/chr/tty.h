/*
 * tty: the process's terminal in raw mode, and its way back. Internal to this room.
 *
 * A terminal belongs to the process and a signal handler can be given no object, so the saved mode is the one
 * piece of file-scope state of this room, held by at most one chr at a time.
 */
#ifndef CHR_TTY_H
#define CHR_TTY_H
struct err;

/* Put the terminal `fd` in raw mode (output processing stays, for our own messages). Saves its mode; restores
 * it on tty_restore, exit(), and before dying of a signal that the process does not handle itself. -EBUSY:
 * held already. */
int tty_raw(int fd, struct err *e);
void tty_restore(void); /* for good; gives the signals back */

#endif
