/* Stands between keepalived and libnl, so that its checkers run where the kernel has no IPVS.
 *
 * keepalived ends where it finds no IPVS, and checks nothing. Its table is not what is measured, so
 * here every request to the kernel is acknowledged and forgotten, which costs it next to nothing.
 * These are all by which it talks to IPVS (nm -D).
 */
struct nl_sock;
struct nl_msg;

typedef int (*told)(struct nl_msg *msg, void *arg);

/* Of enum nl_cb_type, netlink/handlers.h. */
enum { FINISH = 1, ACK = 4, KINDS = 11 };

static struct {
	told function;
	void *arg;
} wanted[KINDS];

int genl_connect(struct nl_sock *sock)
{
	(void)sock;
	return 0;
}

int genl_ctrl_resolve(struct nl_sock *sock, const char *family)
{
	(void)sock;
	(void)family;
	return 1; /* the number of a family; any will do */
}

int nl_socket_modify_cb(struct nl_sock *sock, int type, int kind, told function, void *arg)
{
	(void)sock;
	(void)kind;
	if (type >= 0 && type < KINDS) {
		wanted[type].function = function;
		wanted[type].arg = arg;
	}
	return 0;
}

int nl_send_auto(struct nl_sock *sock, struct nl_msg *msg)
{
	(void)sock;
	(void)msg;
	return 1;
}

int nl_recvmsgs_default(struct nl_sock *sock)
{
	(void)sock;
	if (wanted[FINISH].function)
		wanted[FINISH].function(0, wanted[FINISH].arg);
	if (wanted[ACK].function)
		wanted[ACK].function(0, wanted[ACK].arg);
	return 0;
}
