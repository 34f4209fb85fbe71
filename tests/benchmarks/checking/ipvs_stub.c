/* Stands between keepalived and libnl, so that its checkers run where the kernel has no IPVS.
 *
 * keepalived ends where it finds no IPVS, and checks nothing. Its table is not what is measured, so
 * here every request to the kernel is granted and forgotten, which costs it nothing. The four are all
 * by which it talks to IPVS (nm -D).
 */
struct nl_sock;
struct nl_msg;

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

int nl_send_auto(struct nl_sock *sock, struct nl_msg *msg)
{
	(void)sock;
	(void)msg;
	return 0;
}

int nl_recvmsgs_default(struct nl_sock *sock)
{
	(void)sock;
	return 0;
}
