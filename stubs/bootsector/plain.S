# A smaller boot sector code, for a message that does not fit after stub.S: long text that does not compress, or bytes
# that its format cannot hold. Like the code of byebyebios, it writes each byte to the screen and to the first serial
# port, so firmware that mirrors the screen shows it twice there.
#
# bootling fills in the length, and the address of the message if it leaves out the optional start.

        .code16
        .intel_syntax noprefix

        .equ    SERIAL_PORT, 0x03F8

        .globl  start
start:
        # Optional: left out if the message needs these bytes. The BIOS usually leaves this state.
        xor     bx, bx
        mov     ds, bx
        cld
        sti

        .globl  short
short:
        mov     si, offset message
        # Never 0: bootling shows an empty message with stub.S.
        mov     cx, 0
        mov     dx, SERIAL_PORT
next:
        lodsb
        mov     ah, 0x0E
        int     0x10
        out     dx, al
        loop    next
halt:
        # Interrupts are enabled: Ctrl-Alt-Del works, and the CPU idles.
        hlt
        jmp     halt

        # The message follows.
        .globl  message
message:
